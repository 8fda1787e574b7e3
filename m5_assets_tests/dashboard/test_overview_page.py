"""The Overview page's numbers."""

from __future__ import annotations

import datetime as dt

import httpx
from sqlalchemy import Engine

from m5_assets.dashboard import formatting
from m5_assets.dashboard.app import create_app
from m5_assets.dashboard.last_run import LastRun
from m5_assets_tests.support.dashboard_data import (
    LAST_YEAR,
    NEWEST,
    Business,
)
from m5_assets_tests.support.dashboard_pages import plain, served


def test_the_overview_sums_sales_and_forecast(client: httpx.Client, business: Business) -> None:
    shown = plain(client.get("/"))
    ahead, last = business.forecast(NEWEST)["ensemble"].sum(), int(business.units[:, -28:].sum())
    before = business.days.index(NEWEST.origin + dt.timedelta(days=1) - dt.timedelta(days=35))
    same_weeks = int(business.units[:, before : before + 28].sum())  # the sample repeats them a year before
    assert f"{formatting.units(float(ahead))} units" in shown
    assert f"{formatting.change(float(ahead) / last - 1)} vs last 28 days" in shown
    assert f"same weeks: {formatting.units(same_weeks)} units" in shown
    texas = (business.series["state_id"] == "TX").to_numpy()
    assert f"TX {formatting.units(float(business.units[texas, -28:].sum()))}" in shown


def test_the_overview_shows_data_freshness(engine: Engine, business: Business) -> None:
    run = LastRun("weekly_forecast", "2016-05-16", "failure", dt.datetime(2016, 5, 23, 2, 9, tzinfo=dt.UTC))
    with served(create_app(lambda: engine, last_run=lambda: run)) as address:
        shown = plain(httpx.get(address))
    assert "failure weekly_forecast, week 2016-05-16 23 May 2016, 02:09 UTC" in shown
    assert "series_outlook 18" in shown


def test_the_sample_has_sales_of_last_year(business: Business) -> None:
    assert NEWEST.origin - LAST_YEAR < business.days[0]  # otherwise the pages could read it from the detail
