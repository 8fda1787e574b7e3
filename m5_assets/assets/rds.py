"""The PostgreSQL tables that dashboards, planners and BI tools read: one asset per table, `rds_` and the table's name.

Each week loads in one transaction, so readers see either the old week or the new one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import dagster as dg
import pandas as pd
import pyarrow as pa
from sqlalchemy import Engine, Table

from m5_assets import asset_groups
from m5_assets.forecasting.outlook import outlook
from m5_assets.forecasting.panel import HORIZON
from m5_assets.model_specs import FORECASTS
from m5_assets.partitions import WEEKS
from m5_assets.readers.accuracy_tables import read_accuracy, read_aggregate_accuracy
from m5_assets.readers.forecasts import forecast_parts, read_totals_forecast
from m5_assets.readers.panels import read_panels, series_of
from m5_assets.readers.prices import KnownPrices, priced, priced_sales
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
from m5_assets.resources.postgres.roles import WRITER
from m5_assets.weeks import Week

Rows: TypeAlias = pa.Table | Iterable[pa.Table]
ReadWeek: TypeAlias = Callable[[Week], Rows]


@dataclass(frozen=True)
class Load:
    """One run of a table's asset.

    Attributes:
        lake: the source.
        engine: the target database.
        weeks: the weeks to load; empty for a table without weeks.
        run_id: the Dagster run.
    """

    lake: Lake
    engine: Engine
    weeks: Sequence[Week]
    run_id: str


def _rds_asset(
    name: str,
    deps: Sequence[str | dg.AssetsDefinition],
    description: str,
    load: Callable[[Load], Iterable[LoadResult]],
    *,
    weekly: bool = False,
    backfill_policy: dg.BackfillPolicy | None = None,
) -> dg.AssetsDefinition:
    """Return the asset of a table.

    Args:
        name: the table's name.
        deps: the assets it is loaded from.
        description: what the table holds.
        load: loads the table and yields one result per transaction.
        weekly: whether the table is loaded by week.
        backfill_policy: how many weeks one run of a backfill loads.
    """

    @dg.asset(
        name=f"rds_{name}",
        group_name=asset_groups.RDS,
        kinds={"postgres"},
        deps=deps,
        description=f"{description} In PostgreSQL.",
        partitions_def=WEEKS if weekly else None,
        backfill_policy=backfill_policy,
    )
    def table(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
        from m5_assets.resources.postgres import migrate  # Alembic would take a tenth of the code location's load time

        migrate.ensure_newest(postgres)
        engine = postgres.engine(WRITER)
        weeks = [Week.parse(key) for key in context.partition_keys] if weekly else []
        results: list[LoadResult] = []
        try:
            for result in load(Load(lake, engine, weeks, context.run.run_id)):
                results.append(result)
                if len(weeks) > 1:
                    context.log.info(f"{len(results)} of {len(weeks)} weeks loaded, {result.rows:,} rows in the last")
        except Contradiction as problem:
            raise dg.Failure(description=str(problem), allow_retries=False) from problem
        rows = sum(result.rows for result in results)
        return dg.MaterializeResult(metadata={"dagster/row_count": rows, "sha256": results[-1].sha256})

    return table


def _weekly_table(
    table: Table,
    deps: Sequence[str | dg.AssetsDefinition],
    description: str,
    reader: Callable[[Lake, Sequence[Week]], ReadWeek],
    write: Callable[[Engine, Table, Any, Any, str], LoadResult] = load_week,
    *,
    ranges: bool = False,
) -> dg.AssetsDefinition:
    """Return the asset of a table that is loaded week by week.

    Args:
        table: the table.
        deps: the assets it is loaded from.
        description: what the table holds.
        reader: takes the lake and all weeks of a run, and returns a function that reads one week's rows.
        write: replaces one week of the table.
        ranges: whether a backfill loads all its weeks in one run.
    """

    def load(run: Load) -> Iterator[LoadResult]:
        read = reader(run.lake, run.weeks)
        for week in run.weeks:
            yield write(run.engine, table, week.first_day, read(week), run.run_id)

    policy = dg.BackfillPolicy.single_run() if ranges else None
    return _rds_asset(table.name, deps, description, load, weekly=True, backfill_policy=policy)


class _Reread:
    """Tables that are read again in each pass, so that none has to stay in memory."""

    def __init__(self, read: Callable[[], Iterator[pa.Table]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[pa.Table]:
        return self._read()


def _sales(lake: Lake, weeks: Sequence[Week]) -> ReadWeek:
    prices = KnownPrices(lake, min(weeks).first_day, max(weeks).origin)
    return lambda week: _Reread(partial(priced_sales, lake, week, prices))


def _forecast(lake: Lake, weeks: Sequence[Week]) -> ReadWeek:
    prices = KnownPrices(lake, min(weeks).origin, max(weeks).origin)
    return lambda week: _Reread(lambda: (priced(part, prices, week.origin) for part in forecast_parts(lake, week)))


def _series_outlook(lake: Lake, _: Sequence[Week]) -> ReadWeek:
    return lambda week: _Reread(lambda: (_outlook(lake, week, part) for part in forecast_parts(lake, week)))


def _outlook(lake: Lake, week: Week, forecast: pa.Table) -> pa.Table:
    """Return the outlook of the series in one part of the forecast.

    Raises:
        dg.Failure: the features cover other series.
    """
    series = series_of(forecast, HORIZON)
    panel = read_panels(lake, week, series["store_id"].unique().tolist())
    if not series.equals(panel.series):
        raise dg.Failure(f"week {week}: forecast and features cover different series; materialize the week again")
    units = {name: forecast[name].to_numpy().reshape(-1, HORIZON) for name in FORECASTS}
    return pa.Table.from_pandas(outlook(panel, units), preserve_index=False)


def _store_dept_sales(lake: Lake, _: Sequence[Week]) -> ReadWeek:
    return lambda week: lake.read_table(lake.get("store_dept_sales", week.key).files[0])


def _store_dept_forecast(lake: Lake, _: Sequence[Week]) -> ReadWeek:
    return partial(_sum_forecast, lake)


def _sum_forecast(lake: Lake, week: Week) -> pa.Table:
    """Return the forecasts summed by store-department and day, next to the totals' own forecast.

    Raises:
        dg.Failure: a store-department has only one of the two on some day.
    """
    keys = ["store_id", "dept_id", "date"]
    sums = [(name, "sum") for name in FORECASTS]
    parts = [part.group_by([*keys, "state_id"]).aggregate(sums).to_pandas() for part in forecast_parts(lake, week)]
    summed = pd.concat(parts, ignore_index=True).rename(columns=lambda name: name.removesuffix("_sum"))
    totals = read_totals_forecast(lake, lake.get("totals_forecast", week.key)).rename(columns={"units": "totals"})
    text = {"store_id": str, "dept_id": str}
    joined = summed.astype(text).merge(totals[[*keys, "totals"]].astype(text), on=keys, how="outer", indicator=True)
    odd = joined[joined["_merge"] != "both"]
    if not odd.empty:
        row = odd.iloc[0]
        raise dg.Failure(
            f"week {week}: {len(odd)} days of store-departments have an item or a totals forecast, but not both, "
            f"the first {row['store_id']}, {row['dept_id']}, {row['date']}; materialize totals_forecast and "
            "ensemble_forecast again"
        )
    return pa.Table.from_pandas(joined, preserve_index=False)


def _scores(read: Callable[[Lake, Week], pd.DataFrame]) -> Callable[[Lake, Sequence[Week]], ReadWeek]:
    return lambda lake, _: lambda week: pa.Table.from_pandas(read(lake, week), preserve_index=False)


def _load_calendar(run: Load) -> Iterator[LoadResult]:
    days = run.lake.read_table(run.lake.get("calendar").files[0])
    named = days.select(["date", "d", "event_name_1", "event_type_1", "event_name_2", "event_type_2"]).to_pandas()
    states = [name.removeprefix("snap_") for name in days.column_names if name.startswith("snap_")]
    snap = pa.concat_tables(
        pa.table({"date": dates, "state_id": [state] * len(dates)})
        for state in states
        for dates in [days.filter(days[f"snap_{state}"])["date"]]
    )
    events = pa.Table.from_pandas(named.replace("", None), preserve_index=False)
    yield from load_calendar(run.engine, events, snap, run.run_id)


rds_calendar = _rds_asset(
    "calendar",
    deps=["calendar"],
    description="Days, events and SNAP days: tables calendar and snap, loaded as a whole.",
    load=_load_calendar,
)
rds_sales = _weekly_table(
    schema.sales,
    deps=["raw_sales", "sell_prices", "calendar"],
    description="The week's daily unit sales of every series, with prices. The back-history loads in one run, one "
    "transaction per week.",
    reader=_sales,
    write=load_series,
    ranges=True,
)
rds_forecast = _weekly_table(
    schema.forecast,
    deps=["ensemble_forecast", "sell_prices", "calendar"],
    description="The week's forecast by series, day and model, with the known prices.",
    reader=_forecast,
    write=load_series,
)
rds_series_outlook = _weekly_table(
    schema.series_outlook,
    deps=["features", "ensemble_forecast"],
    description="Recent sales and the forecast, one row per series: the first thing planners look at.",
    reader=_series_outlook,
    write=load_series,
)
rds_store_dept_sales = _weekly_table(
    schema.store_dept_sales,
    deps=["store_dept_sales", rds_sales],
    description="Daily sales per store-department over the whole known history. They must equal the sums of the "
    "item sales where those are loaded.",
    reader=_store_dept_sales,
    write=lambda engine, _, first_day, rows, run_id: load_store_dept_sales(engine, first_day, rows, run_id),
    ranges=True,
)
rds_store_dept_forecast = _weekly_table(
    schema.store_dept_forecast,
    deps=["ensemble_forecast", "totals_forecast"],
    description="Daily forecasts per store-department: each model's items summed, and the totals model's own forecast, "
    "to which the items were aligned.",
    reader=_store_dept_forecast,
)
rds_accuracy = _weekly_table(
    schema.accuracy,
    deps=["forecast_accuracy"],
    description="WRMSSE, RMSSE, mean absolute error and bias of the week's forecast by model, level and week of the "
    "horizon.",
    reader=_scores(read_accuracy),
)
rds_aggregate_accuracy = _weekly_table(
    schema.aggregate_accuracy,
    deps=["forecast_accuracy"],
    description="RMSSE, mean absolute error and bias of the week's forecast for each aggregate.",
    reader=_scores(read_aggregate_accuracy),
)
