"""The RDS tables: what dashboards, planners and BI read.

An asset a table, named as the table. A load is one transaction: readers see the old week or the new one.

Not here: tables and loading (`m5_assets.resources.postgres`).
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from m5_assets.assets.accuracy import read_accuracy, read_aggregate_accuracy
from m5_assets.assets.ensemble import MODELS, forecast_parts
from m5_assets.assets.predictions import read_totals_forecast
from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.forecasting.outlook import outlook
from m5_assets.forecasting.panel import HORIZON, SERIES_COLUMNS, Panel, concat, read_panel
from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource, schema
from m5_assets.resources.postgres.load import (
    Contradiction,
    LoadResult,
    load_calendar,
    load_series,
    load_store_dept_sales,
    load_week,
)
from m5_assets.weeks import WEEKS, Week


def _database(postgres: PostgresResource) -> Engine:
    from m5_assets.resources.postgres import migrate  # Alembic: a tenth of the code location's loading

    engine = postgres.engine()
    migrate.upgrade(engine)
    return engine


def _loaded(results: Sequence[LoadResult]) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(
        metadata={"dagster/row_count": sum(result.rows for result in results), "sha256": results[-1].sha256}
    )


def _table(lake: Lake, dataset: str, week: Week | None = None) -> pa.Table:
    return lake.read_table(lake.get(dataset, week.key if week else None).files[0])


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    deps=["calendar"],
    description="Days, events and SNAP days in PostgreSQL, all of them at once: tables calendar and snap.",
)
def calendar(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
    """Load the calendar."""
    days = _table(lake, "calendar")
    named = days.select(["date", "d", "event_name_1", "event_type_1", "event_name_2", "event_type_2"]).to_pandas()
    states = [name.removeprefix("snap_") for name in days.column_names if name.startswith("snap_")]
    snap = pa.concat_tables(
        pa.table({"date": dates, "state_id": [state] * len(dates)})
        for state in states
        for dates in [days.filter(days[f"snap_{state}"])["date"]]
    )
    events = pa.Table.from_pandas(named.replace("", None), preserve_index=False)
    return _loaded(load_calendar(_database(postgres), events, snap, context.run.run_id))


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["raw_sales", "sell_prices", "calendar"],
    backfill_policy=dg.BackfillPolicy.single_run(),
    description="The units sold of every series on the seven days of a week, with their prices, in PostgreSQL. Weeks "
    "of the back-history load in one run, each in a transaction of its own.",
)
def sales(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
    """Load the weeks' sales."""
    weeks = [Week.parse(key) for key in context.partition_keys]
    prices = _Prices(lake, min(weeks).first_day, max(weeks).origin)
    engine, results = _database(postgres), []
    for number, week in enumerate(weeks, start=1):
        tables = _Anew(partial(_priced_sales, lake, week, prices))
        results.append(load_series(engine, schema.sales, week.first_day, tables, context.run.run_id))
        context.log.info(f"{number} of {len(weeks)} weeks loaded, {results[-1].rows:,} rows each")
    return _loaded(results)


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["ensemble_forecast", "sell_prices", "calendar"],
    description="The week's forecast of every series, day and model in PostgreSQL, with the known prices: one "
    "transaction, which replaces the week; readers see the old one or the new one.",
)
def forecast(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
    """Load the week's forecast."""
    week = Week.parse(context.partition_key)
    prices = _Prices(lake, week.origin, week.origin)
    tables = _Anew(lambda: (_priced(table, prices, week.origin) for table in forecast_parts(lake, week)))
    return _loaded([load_series(_database(postgres), schema.forecast, week.first_day, tables, context.run.run_id)])


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["features", "ensemble_forecast"],
    description="What sold lately and what is forecast, one row a series, in PostgreSQL: what planners look at first.",
)
def series_outlook(
    context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource
) -> dg.MaterializeResult[Any]:
    """Compute and load the week's outlook."""
    week = Week.parse(context.partition_key)
    tables = _Anew(lambda: (_outlook(lake, week, table) for table in forecast_parts(lake, week)))
    return _loaded(
        [load_series(_database(postgres), schema.series_outlook, week.first_day, tables, context.run.run_id)]
    )


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["store_dept_sales", sales],
    backfill_policy=dg.BackfillPolicy.single_run(),
    description="The store-departments' daily totals over the whole known history in PostgreSQL. They must be the sums "
    "of the items' sales where those are loaded.",
)
def store_dept_sales(
    context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource
) -> dg.MaterializeResult[Any]:
    """Load the weeks' totals."""
    engine, results = _database(postgres), []
    for key in context.partition_keys:
        week = Week.parse(key)
        totals = _table(lake, "store_dept_sales", week)
        try:
            results.append(load_store_dept_sales(engine, week.first_day, totals, context.run.run_id))
        except Contradiction as problem:
            raise dg.Failure(description=str(problem), allow_retries=False) from problem
    context.log.info(f"{len(results)} weeks loaded")
    return _loaded(results)


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["ensemble_forecast", "totals_forecast"],
    description="The store-departments' daily forecasts in PostgreSQL: the sums of each model's items, and the totals' "
    "own forecast before the items were aligned to it.",
)
def store_dept_forecast(
    context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource
) -> dg.MaterializeResult[Any]:
    """Sum and load the week's forecast."""
    week = Week.parse(context.partition_key)
    keys = ["store_id", "dept_id", "date"]
    sums = [(model, "sum") for model in MODELS]
    parts = [t.group_by([*keys, "state_id"]).aggregate(sums).to_pandas() for t in forecast_parts(lake, week)]
    summed = pd.concat(parts, ignore_index=True).rename(columns=lambda name: name.removesuffix("_sum"))
    totals = read_totals_forecast(lake, lake.get("totals_forecast", week.key)).rename(columns={"units": "totals"})
    text = {"store_id": str, "dept_id": str}
    joined = summed.astype(text).merge(totals[[*keys, "totals"]].astype(text), on=keys, how="outer", indicator=True)
    odd = joined[joined["_merge"] != "both"]
    if not odd.empty:
        row = odd.iloc[0]
        raise dg.Failure(
            f"week {week}: {len(odd)} days of store-departments are forecast by the items or the totals, not by both, "
            f"the first {row['store_id']}, {row['dept_id']}, {row['date']}; materialise totals_forecast and "
            "ensemble_forecast again"
        )
    rows = pa.Table.from_pandas(joined, preserve_index=False)
    return _loaded(
        [load_week(_database(postgres), schema.store_dept_forecast, week.first_day, rows, context.run.run_id)]
    )


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["forecast_accuracy"],
    description="WRMSSE, RMSSE, mean absolute error and bias of the week's forecast by model, level and week of the "
    "horizon in PostgreSQL.",
)
def accuracy(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
    """Load the week's accuracy."""
    week = Week.parse(context.partition_key)
    rows = pa.Table.from_pandas(read_accuracy(lake, week), preserve_index=False)
    return _loaded([load_week(_database(postgres), schema.accuracy, week.first_day, rows, context.run.run_id)])


@dg.asset(
    key_prefix="rds",
    group_name="rds",
    kinds={"postgres"},
    partitions_def=WEEKS,
    deps=["forecast_accuracy"],
    description="RMSSE, mean absolute error and bias of the week's forecast of every single aggregate in PostgreSQL.",
)
def aggregate_accuracy(
    context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource
) -> dg.MaterializeResult[Any]:
    """Load the accuracy of the week's aggregates."""
    week = Week.parse(context.partition_key)
    rows = pa.Table.from_pandas(read_aggregate_accuracy(lake, week), preserve_index=False)
    return _loaded(
        [load_week(_database(postgres), schema.aggregate_accuracy, week.first_day, rows, context.run.run_id)]
    )


class _Prices:
    """The lake's prices of some days.

    Args:
        lake: the lake.
        first: the first of the days.
        last: the last day from which prices are asked for; they reach 28 days beyond it.
    """

    def __init__(self, lake: Lake, first: dt.date, last: dt.date) -> None:
        self._calendar = _table(lake, "calendar")
        dates = pd.to_datetime(self._calendar["date"].to_pandas())
        days = (dates >= pd.Timestamp(first)) & (dates <= pd.Timestamp(last) + pd.Timedelta(days=HORIZON))
        weeks = pc.unique(self._calendar.filter(pa.array(days))["wm_yr_wk"])
        groups = lake.read_groups(lake.get("sell_prices").files[0])
        parts = [part.filter(pc.is_in(part["wm_yr_wk"], weeks)) for part in groups]
        self._prices = pa.concat_tables(parts).unify_dictionaries()

    def since(self, series: pd.DataFrame, first: dt.date) -> npt.NDArray[np.float32]:
        """Return (N, 29) prices in force on the day `first` and the 28 days after it; NaN: not on offer."""
        stores = pa.array(series["store_id"].unique().tolist())
        known = self._prices.filter(pc.is_in(self._prices["store_id"], stores))
        day = DailyUnits(series, first, np.zeros((len(series), 1), np.int32))
        return build_panel(day, known, self._calendar).price


class _Anew:
    """Tables that are made each time they are gone through, so that none is kept.

    Args:
        make: gives them.
    """

    def __init__(self, make: Callable[[], Iterator[pa.Table]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[pa.Table]:
        return self._make()


def _priced_sales(lake: Lake, week: Week, prices: _Prices) -> Iterator[pa.Table]:
    """Yield a week's sales with their prices, some stores at a time."""
    for table in lake.read_groups(lake.get("raw_sales", week.key).files[0]):
        yield _priced(table, prices, pc.min(table["date"]).as_py())


def _priced(table: pa.Table, prices: _Prices, since: dt.date) -> pa.Table:
    """Return N x D rows of series, sorted by series and day, with their prices.

    Args:
        table: the rows.
        prices: of their days.
        since: a day up to 28 days before the last of theirs, and not after the first.
    """
    dates = pc.min_max(table["date"]).as_py()
    begin, end = (dates["min"] - since).days, (dates["max"] - since).days + 1
    price = prices.since(_series_of(table, end - begin), since)[:, begin:end]
    return table.append_column("sell_price", pa.array(price.reshape(-1)))


def _outlook(lake: Lake, week: Week, table: pa.Table) -> pa.Table:
    """Return the outlook of the series of a part of the forecast."""
    series = _series_of(table, HORIZON)
    panel = _read_panel(lake, week, series["store_id"].unique().tolist())
    if not series.equals(panel.series):
        raise dg.Failure(f"week {week}: forecast and features are of different series; materialise the week again")
    units = {model: table[model].to_numpy().reshape(-1, HORIZON) for model in MODELS}
    return pa.Table.from_pandas(outlook(panel, units), preserve_index=False)


def _series_of(table: pa.Table, days: int) -> pd.DataFrame:
    """Return the N series of N x days rows, as in a panel."""
    heads = table.select(SERIES_COLUMNS).take(np.arange(0, table.num_rows, days))
    return pd.DataFrame({name: heads[name].to_pandas().astype(str) for name in SERIES_COLUMNS})


def _read_panel(lake: Lake, week: Week, stores: Sequence[str]) -> Panel:
    files = {Path(file.key).stem: file for file in lake.get("features", week.key).under("panel")}
    panels = []
    for store in sorted(set(stores) & set(files)):
        with lake.filesystem.open_input_stream(lake.path(files[store].key), compression=None) as stream:
            panels.append(read_panel(pa.BufferReader(stream.read())))
    if not panels:
        raise dg.Failure(f"week {week}: forecast and features are of different series; materialise the week again")
    return concat(panels)
