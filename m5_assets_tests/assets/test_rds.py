"""Tests of the RDS assets with a sample in a real lake and PostgreSQL: the tables match the lake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from m5_assets.assets import landing, rds
from m5_assets.assets.ensemble import forecast_table
from m5_assets.checks.rds import rds_sales_checks
from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.forecasting.outlook import outlook
from m5_assets.forecasting.panel import HORIZON, Panel, write_panel
from m5_assets.model_specs import FORECASTS, MEMBER_NAMES
from m5_assets.readers.forecasts import read_forecast
from m5_assets.readers.sales import read_sales_weeks
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.postgres import PostgresResource
from m5_assets.sample import write_sample
from m5_assets.weeks import Week, weeks_between
from m5_assets_tests.resources.conftest import new_home

WEEK = Week.parse("2016-05-16")
WEEKS = weeks_between(WEEK.shift(-9), WEEK)


@dataclass(frozen=True)
class Home:
    """A lake with a sample in it, and a database."""

    lake: Lake
    postgres: PostgresResource
    landed: LandingFolder

    def make(
        self, *assets: dg.AssetsDefinition, week: Week | None = WEEK, since: Week | None = None
    ) -> dg.ExecuteInProcessResult:
        tags = {}
        if since is not None and week is not None:
            tags = {"dagster/asset_partition_range_start": since.key, "dagster/asset_partition_range_end": week.key}
        key = week.key if week is not None and since is None else None
        return dg.materialize(
            list(assets),
            partition_key=key,
            tags=tags,
            resources={"lake": self.lake, "postgres": self.postgres, "landing": self.landed},
        )

    def ask(self, query: str) -> pd.DataFrame:
        with self.postgres.engine().connect() as connection:
            result = connection.execute(text(query))
            return pd.DataFrame(result.all(), columns=list(result.keys()))

    def publish(self, dataset: str, table: pa.Table) -> None:
        with self.lake.staging() as staged:
            pq.write_table(table, staged / "rows.parquet")
            self.lake.publish(dataset, WEEK.key, staged, inputs={}, attributes={})

    def table(self, dataset: str, week: Week | None = None) -> pa.Table:
        return self.lake.read_table(self.lake.get(dataset, week.key if week else None).files[0])

    def panel(self) -> Panel:
        history = read_sales_weeks(self.lake, WEEKS)
        return build_panel(history, self.table("sell_prices"), self.table("calendar"))


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Return a home with ten loaded weeks of sales and a forecast of the last one."""
    with new_home() as folder:
        write_sample(folder / "landing", items=8, weeks=len(WEEKS), seed=1)
        home = Home(
            Lake(root=str(folder / "lake")),
            PostgresResource(home=str(folder)),
            LandingFolder(root=str(folder / "landing")),
        )
        home.make(landing.sell_prices, landing.calendar, week=None)
        home.make(landing.raw_sales, landing.store_dept_sales, since=WEEKS[0])
        _forecast(home)
        home.make(rds.rds_calendar, week=None)
        home.make(rds.rds_sales, rds.rds_store_dept_sales, since=WEEKS[0])
        home.make(rds.rds_forecast, rds.rds_series_outlook, rds.rds_store_dept_forecast)
        yield home
        home.postgres.engine().dispose()


def _forecast(home: Home) -> None:
    panel, rng = home.panel(), np.random.default_rng(0)
    with home.lake.staging() as staged:
        (staged / "panel").mkdir()
        for store, part in panel.stores():
            write_panel(part, staged / "panel" / f"{store}.parquet")
        home.lake.publish("features", WEEK.key, staged, inputs={}, attributes={})
    units = rng.gamma(1, 1, (4, len(panel.series), HORIZON)).astype(np.float32)
    first_day = WEEK.shift(1).first_day
    members = dict(zip(MEMBER_NAMES, units, strict=False))
    home.publish(
        "ensemble_forecast", forecast_table(DailyUnits(panel.series, first_day, units[0]), members, *units[2:])
    )
    totals = panel.series[["store_id", "dept_id"]].drop_duplicates()
    days = pd.DataFrame({"date": pd.date_range(first_day, periods=HORIZON).date})
    home.publish("totals_forecast", pa.Table.from_pandas(totals.merge(days, how="cross").assign(units=9.5)))


def test_sales_carry_the_price_of_their_week(home: Home) -> None:
    found = home.ask(
        "SELECT * FROM m5.sales JOIN m5.series_hierarchy USING (series_id) ORDER BY store_id, item_id, date"
    )
    panel = home.panel()
    shape = (len(panel.series), 7 * len(WEEKS))
    assert (found["units"].to_numpy().reshape(shape) == panel.sales).all()
    price = found["sell_price"].to_numpy(np.float32).reshape(shape)
    np.testing.assert_array_equal(price, panel.price[:, : panel.days])
    assert (pd.to_datetime(found["week"]) == pd.to_datetime(found["date"]).dt.to_period("W-SUN").dt.start_time).all()


def test_the_forecast_carries_the_known_prices(home: Home) -> None:
    found = home.ask("SELECT * FROM m5.bi_forecast ORDER BY store_id, item_id, date")
    panel = home.panel()
    assert len(found) == len(panel.series) * HORIZON
    price = found["sell_price"].to_numpy(np.float32).reshape(-1, HORIZON)
    np.testing.assert_array_equal(price, panel.price[:, panel.days :])
    in_lake = read_forecast(home.lake, WEEK)
    for model in FORECASTS:
        np.testing.assert_array_equal(found[model].to_numpy(np.float32), in_lake[model].to_numpy())


def test_the_outlook_matches_the_panel(home: Home) -> None:
    found = home.ask("SELECT * FROM m5.bi_outlook ORDER BY store_id, item_id")
    table = read_forecast(home.lake, WEEK)
    expected = outlook(home.panel(), {m: table[m].to_numpy().reshape(-1, HORIZON) for m in FORECASTS})
    for name in ("forecast_28", "last_28", "usual_28", "zero_days", "sell_price", "next_price"):
        np.testing.assert_allclose(found[name].astype(float), expected[name].astype(float), rtol=1e-6)
    assert found["last_year_28"].isna().all()  # ten weeks do not reach back a year
    first_sale = pd.to_datetime(expected["first_sale"]).dt.date
    assert [day or None for day in found["first_sale"]] == [None if pd.isna(day) else day for day in first_sale]


def test_totals_are_the_sums_of_their_items(home: Home) -> None:
    summed = (
        "SELECT store_id, dept_id, date, sum({0}) FROM m5.{1} JOIN m5.series_hierarchy USING (series_id) "
        "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    totals = "SELECT store_id, dept_id, date, {0} FROM m5.{1} ORDER BY 1, 2, 3"
    sales = home.ask(totals.format("units", "store_dept_sales"))
    assert (sales["units"] == home.ask(summed.format("units", "sales"))["sum"]).all()
    forecast = home.ask(totals.format("ensemble, totals", "store_dept_forecast"))
    np.testing.assert_allclose(
        forecast["ensemble"].astype(float),
        home.ask(summed.format("ensemble", "forecast"))["sum"].astype(float),
        rtol=1e-5,
    )
    assert (forecast["totals"] == 9.5).all()


def test_the_calendar_is_the_landed_one(home: Home) -> None:
    landed = home.table("calendar").to_pandas()
    found = home.ask("SELECT * FROM m5.calendar ORDER BY date")
    assert (found["d"] == landed["d"]).all()
    assert found["event_name_1"].fillna("").tolist() == landed["event_name_1"].tolist()
    snap = home.ask("SELECT state_id, count(*) AS days FROM m5.snap GROUP BY 1").set_index("state_id")["days"]
    assert snap.to_dict() == {state: landed[f"snap_{state}"].sum() for state in ("CA", "TX", "WI")}


def test_loading_again_changes_only_the_log(home: Home) -> None:
    def hashes() -> dict[Any, set[Any]]:
        log = home.ask("SELECT table_name, week, sha256 FROM m5.load_log")
        return log.groupby(["table_name", log["week"].astype(str)])["sha256"].agg(set).to_dict()

    before = hashes()
    home.make(rds.rds_forecast, rds.rds_series_outlook, rds.rds_store_dept_forecast)
    home.make(rds.rds_sales, rds.rds_store_dept_sales)
    home.make(rds.rds_calendar, week=None)
    assert hashes() == before


def test_totals_of_other_departments_than_the_items_are_rejected(home: Home, tmp_path: Path) -> None:
    other = Home(Lake(root=str(tmp_path)), home.postgres, home.landed)
    other.publish("ensemble_forecast", read_forecast(home.lake, WEEK))
    totals = home.table("totals_forecast", WEEK)
    other.publish("totals_forecast", totals.slice(0, totals.num_rows - 1))
    with pytest.raises(dg.Failure, match=r"1 days of store-departments .*, the first WI_3"):
        other.make(rds.rds_store_dept_forecast)


def test_each_week_of_a_range_is_compared_with_the_lake(home: Home) -> None:
    done = home.make(rds.rds_sales, rds_sales_checks, since=WEEKS[0])
    [found] = done.get_asset_check_evaluations()
    assert found.passed
    assert found.metadata["weeks"].value == len(WEEKS)
