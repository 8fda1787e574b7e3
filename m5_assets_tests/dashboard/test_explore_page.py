"""The Explore page: places, items, search, prices and promotions."""

from __future__ import annotations

import datetime as dt

import httpx
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from m5_assets.dashboard import explore_page, plotly_figures
from m5_assets.dashboard.database import NotFound, Reader
from m5_assets.dashboard.scope import Scope
from m5_assets_tests.support.dashboard_data import (
    NEW,
    NEWEST,
    RISING,
    SCORED,
    Business,
)
from m5_assets_tests.support.dashboard_pages import figure, plain


def test_a_place_shows_its_daily_units(client: httpx.Client, business: Business) -> None:
    traces = figure(client.get("/explore?store=CA_1&dept=FOODS_1&history=91"))
    rows = ((business.series["store_id"] == "CA_1") & (business.series["dept_id"] == "FOODS_1")).to_numpy()
    assert traces["Sold"]["x"] == [day.isoformat() for day in business.days[-91:]]
    assert traces["Sold"]["y"] == business.units[rows][:, -91:].sum(axis=0).tolist()
    ahead = business.forecast(NEWEST)["gbm"][rows].sum(axis=0)
    assert traces["GBM"]["y"] == pytest.approx(ahead.tolist(), abs=1e-3)
    assert traces["Event"]["text"] == ["Mother's day", "MemorialDay"]
    assert len(traces["Same weeks last year"]["y"]) == 28


def test_an_item_shows_prices_and_promotions(client: httpx.Client) -> None:
    traces = figure(client.get("/explore?store=CA_1&item=FOODS_1_001&history=91"))
    promoted = NEWEST.shift(-2)
    cheap = [day for day, price in zip(traces["Price"]["x"], traces["Price"]["y"], strict=True) if price == 3.2]
    assert cheap[0] == promoted.key
    assert len(cheap) == 7
    assert "Promotion" in traces


def test_a_past_week_shows_sales_since_then(client: httpx.Client, business: Business) -> None:
    page = client.get(f"/explore?week={SCORED}&store=CA_1&item={RISING[0]}")
    row = business.row((RISING[0], "CA_1"))
    assert figure(page)["Sold since"]["y"] == business.units[row, -28:].tolist()
    assert "Sold in the 28 days since" in plain(page)


def test_an_item_in_all_stores_is_the_sum_over_stores(client: httpx.Client, business: Business) -> None:
    page = client.get("/explore?item=FOODS_1_001")
    rows = (business.series["item_id"] == "FOODS_1_001").to_numpy()
    assert figure(page)["Sold"]["y"] == business.units[rows][:, -91:].sum(axis=0).tolist()
    assert "Stores that sell this item" in plain(page)


@pytest.mark.parametrize("scope", [Scope(store="WI_9"), Scope(store="WI_9", item="FOODS_1_001")])
def test_a_place_that_the_week_does_not_forecast_says_so(loader: Engine, business: Business, scope: Scope) -> None:
    assert len(business.series)
    with loader.connect() as connection:
        for statement in (
            "INSERT INTO m5.store (store_id, state_id) VALUES ('WI_9', 'WI')",
            "INSERT INTO m5.series (series_id, item_id, store_id) "
            "SELECT max(series_id) + 1, 'FOODS_1_001', 'WI_9' FROM m5.series",
        ):
            connection.execute(text(statement))
        with pytest.raises(
            NotFound, match=f"Week {NEWEST} has no forecast of .*WI_9, which was not yet or no longer in"
        ):
            explore_page.place(Reader(connection), scope, NEWEST, 91)
        connection.rollback()


def test_a_place_whose_history_has_gone_is_drawn_from_its_forecast_on() -> None:
    days = pd.date_range("2016-05-23", periods=28).date
    forecast = pd.DataFrame({"date": days, "ensemble": 1.0})
    drawn = plotly_figures.daily(pd.DataFrame(columns=["date", "units"]), forecast)
    assert drawn["layout"]["xaxis"]["range"][0] == "2016-05-23"
    assert [len(trace["y"]) for trace in drawn["data"] if trace["name"] == "Sold"] == [0]


def test_missing_parents_of_a_place_are_filled_in(client: httpx.Client) -> None:
    shown = plain(client.get(f"/explore?store={NEW[1]}&item={NEW[0]}"))
    assert f"All stores TX {NEW[1]} HOBBIES HOBBIES_1 {NEW[0]}" in shown


def test_an_upper_level_overrides_a_contradicting_lower_one(client: httpx.Client) -> None:
    assert "<h1>TX</h1>" in client.get("/explore?state=TX&store=CA_1").text
    assert "<h1>HOBBIES in CA_1</h1>" in client.get("/explore?store=CA_1&cat=HOBBIES&dept=FOODS_1").text
    assert "<h1>FOODS_2</h1>" in client.get("/explore?dept=FOODS_2&item=FOODS_1_001").text


def test_search_finds_items_by_any_part_of_the_name(client: httpx.Client) -> None:
    assert client.get("/items.json?q=foods 1").json() == ["FOODS_1_001", "FOODS_1_002"]
    assert client.get("/items.json?q=%25").json() == []  # not treated as an SQL wildcard
    assert "2 found" in plain(client.get("/explore?q=FOODS_1"))
    assert "<h1>FOODS_1_001</h1>" in client.get("/explore?q=foods_1_001").text
    assert "No item name contains this text" in plain(client.get("/explore?q=bananas"))


def test_a_promotion_is_a_price_well_below_the_usual_price() -> None:
    days = [dt.date(2016, 1, 1) + dt.timedelta(days=n) for n in range(100)]
    price = np.full(100, 4.0)
    price[70:77] = 3.0
    price[80] = 3.95  # only a few cents less
    shown = explore_page.prices(pd.DataFrame({"date": days, "price": price}))
    assert shown.loc[shown["promotion"], "date"].tolist() == days[70:77]
    assert plotly_figures.spans(shown["date"].tolist(), shown["promotion"].tolist()) == [(days[70], days[76])]


def test_a_price_that_stays_low_becomes_the_usual_price() -> None:
    days = [dt.date(2016, 1, 1) + dt.timedelta(days=n) for n in range(200)]
    shown = explore_page.prices(pd.DataFrame({"date": days, "price": np.where(np.arange(200) < 100, 4.0, 3.0)}))
    assert shown["promotion"].iloc[101]
    assert not shown["promotion"].iloc[-1]
