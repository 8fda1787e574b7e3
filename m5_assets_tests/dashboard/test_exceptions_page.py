"""The Exceptions page: the list, its filters, its cache."""

from __future__ import annotations

import csv
import io

import httpx
from sqlalchemy import Engine

from m5_assets.dashboard.app import create_app
from m5_assets.resources.postgres import load, schema
from m5_assets_tests.support.dashboard_data import (
    GONE,
    NEW,
    REPRICED,
    RISING,
    RUN,
    SCORED,
    Business,
    arrow,
)
from m5_assets_tests.support.dashboard_pages import served


def test_every_planted_exception_is_listed(client: httpx.Client) -> None:
    rows = list(csv.DictReader(io.StringIO(client.get("/exceptions.csv").text.removeprefix("\ufeff"))))
    planted = {
        "Likely out of stock": GONE,
        "Sharp rise": RISING,
        "New item": NEW,
        "Price change ahead": REPRICED,
    }
    for kind, (item, store) in planted.items():
        assert (item, store) in {(row["item_id"], row["store_id"]) for row in rows if row["kind"] == kind}
    money = [float(row["dollars_at_stake"]) for row in rows]
    assert money == sorted(money, reverse=True)


def test_exceptions_are_filtered(client: httpx.Client) -> None:
    shown = client.get("/exceptions?kind=out_of_stock&store=CA_1").text
    assert GONE[0] in shown
    assert RISING[0] not in shown
    assert "No exceptions match these filters" in client.get("/exceptions?kind=out_of_stock&store=TX_1").text
    assert GONE[0] not in client.get("/exceptions.csv?dept=FOODS_2").text


def test_a_new_load_refreshes_the_list(engine: Engine, loader: Engine, business: Business) -> None:
    outlook = business.outlook(SCORED)
    new = outlook.assign(first_sale=SCORED.origin)
    with served(create_app(lambda: engine)) as address:
        listed = f"{address}/exceptions.csv?week={SCORED}&kind=new_item"
        before = httpx.get(listed).text
        load.load_series(loader, schema.series_outlook, SCORED.first_day, [arrow(new)], RUN)
        after = httpx.get(listed).text
        load.load_series(loader, schema.series_outlook, SCORED.first_day, [arrow(outlook)], RUN)
        assert httpx.get(listed).text == before
    assert before.count("\n") < after.count("\n") == len(outlook) + 1
