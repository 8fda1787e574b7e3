"""Checks of the database after a load: each table matches the lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import dagster as dg
from sqlalchemy import ColumnElement, Engine, Table, func, select
from sqlalchemy.types import Double

from m5_assets.checks.accuracy import overall
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks, whole_checks
from m5_assets.forecasting.panel import HORIZON
from m5_assets.model_specs import ENSEMBLE
from m5_assets.readers.accuracy_tables import read_accuracy, read_aggregate_accuracy
from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource, schema
from m5_assets.weeks import Week

_SUMS_AGREE = 1e-4  # single-precision values, summed in a different order
_NAME = "matches_the_lake"
ROWS_CHECKS = (Check(_NAME, "The week has as many rows as in the lake, and the same sum."),)
SCORES_CHECKS = (Check(_NAME, "Each model's WRMSSE is the same as in the lake."),)
CALENDAR_CHECKS = (Check(_NAME, "The calendar has the same days as in the lake."),)

RowsAndSum = tuple[int, float]


def same_rows(found: RowsAndSum, expected: RowsAndSum) -> Finding:
    """Compare the number of rows and a column's sum with those in the lake."""
    text = f"{found[0]:,} rows, {found[1]:,.1f} in PostgreSQL; {expected[0]:,}, {expected[1]:,.1f} in the lake"
    near = abs(found[1] - expected[1]) <= _SUMS_AGREE * max(abs(expected[1]), 1.0)
    return Finding(found[0] == expected[0] and near, text, {"rows": found[0], "rows_expected": expected[0]})


def same_scores(found: Mapping[str, float], expected: Mapping[str, float]) -> Finding:
    """Compare the models' scores with those in the lake."""
    odd = [m for m in {*found, *expected} if abs(found.get(m, -1.0) - expected.get(m, -1.0)) > _SUMS_AGREE]
    text = f"scores of {', '.join(sorted(found)) or 'no model'} in PostgreSQL"
    return Finding(not odd and bool(found), f"{text}; those of {', '.join(sorted(odd))} differ" if odd else text)


def same_days(found: tuple[int, dt.date | None], expected: tuple[int, dt.date]) -> Finding:
    """Compare the number of days and the last day."""
    return Finding(
        found == expected, f"{found[0]} days to {found[1]} in PostgreSQL, {expected[0]} to {expected[1]} in the lake"
    )


def rows_examiner(
    table: Table, column: str, expected: Callable[[Lake, Week], RowsAndSum]
) -> Callable[[Lake, PostgresResource], Examiner]:
    """Return the factory of a table's examiner, which compares a week's rows and a column's sum with the lake."""

    def of(lake: Lake, postgres: PostgresResource) -> Examiner:
        def examine(week: Week) -> Findings:
            total = func.coalesce(func.sum(table.c[column].cast(Double)), 0.0)
            query = select(func.count(), total).where(_of_week(table, week))
            with postgres.engine().connect() as connection:
                rows, summed = connection.execute(query).one()
            return {_NAME: same_rows((int(rows), float(summed)), expected(lake, week))}

        return examine

    return of


def _of_week(table: Table, week: Week) -> ColumnElement[bool]:
    if "week" in table.c:
        return table.c.week == week.first_day
    return table.c.date.between(week.first_day, week.origin)


def _in_lake(dataset: str, column: str = "units") -> Callable[[Lake, Week], RowsAndSum]:
    def read(lake: Lake, week: Week) -> RowsAndSum:
        table = lake.read_table(lake.get(dataset, week.key).files[0])
        return table.num_rows, float(table[column].to_numpy().sum(dtype=float))

    return read


def _outlook(lake: Lake, week: Week) -> RowsAndSum:
    rows, units = _in_lake("ensemble_forecast", ENSEMBLE)(lake, week)
    return rows // HORIZON, units


def _totals(lake: Lake, week: Week) -> RowsAndSum:
    rows, _ = _in_lake("totals_forecast")(lake, week)
    return rows, _in_lake("ensemble_forecast", ENSEMBLE)(lake, week)[1]


def _aggregates(lake: Lake, week: Week) -> RowsAndSum:
    frame = read_aggregate_accuracy(lake, week)
    return len(frame), float(frame["rmsse"].sum())


def scores_examiner(lake: Lake, postgres: PostgresResource) -> Examiner:
    """Return the examiner of `rds_accuracy`."""

    def examine(week: Week) -> Findings:
        scores = schema.accuracy.c
        query = select(scores.model, scores.wrmsse).where(
            scores.week == week.first_day, scores.level == 0, scores.horizon_week == 0
        )
        with postgres.engine().connect() as connection:
            found = {row.model: float(row.wrmsse) for row in connection.execute(query)}
        return {_NAME: same_scores(found, overall(read_accuracy(lake, week)))}

    return examine


def examine_calendar(lake: Lake, postgres: PostgresResource) -> Findings:
    """Examine `rds_calendar`."""
    days = lake.read_table(lake.get("calendar").files[0])["date"].to_pandas()
    return {_NAME: same_days(_calendar_days(postgres.engine()), (len(days), days.max().date()))}


def _calendar_days(engine: Engine) -> tuple[int, dt.date | None]:
    with engine.connect() as connection:
        count, last = connection.execute(select(func.count(), func.max(schema.calendar.c.date))).one()
    return int(count), last


_RESOURCES = ("lake", "postgres")


def _weekly(
    table: Table, column: str, dataset: str, expected: Callable[[Lake, Week], RowsAndSum]
) -> dg.AssetChecksDefinition:
    examiner = rows_examiner(table, column, expected)
    return weekly_checks(f"rds_{table.name}", ROWS_CHECKS, examiner, _RESOURCES, dataset)


rds_sales_checks = _weekly(schema.sales, "units", "raw_sales", _in_lake("raw_sales"))
rds_store_dept_sales_checks = _weekly(
    schema.store_dept_sales, "units", "store_dept_sales", _in_lake("store_dept_sales")
)
rds_forecast_checks = _weekly(schema.forecast, ENSEMBLE, "ensemble_forecast", _in_lake("ensemble_forecast", ENSEMBLE))
rds_series_outlook_checks = _weekly(schema.series_outlook, "forecast_28", "ensemble_forecast", _outlook)
rds_store_dept_forecast_checks = _weekly(schema.store_dept_forecast, ENSEMBLE, "ensemble_forecast", _totals)
rds_aggregate_accuracy_checks = _weekly(schema.aggregate_accuracy, "rmsse", "forecast_accuracy", _aggregates)
rds_accuracy_checks = weekly_checks("rds_accuracy", SCORES_CHECKS, scores_examiner, _RESOURCES, "forecast_accuracy")
rds_calendar_checks = whole_checks("rds_calendar", CALENDAR_CHECKS, examine_calendar, _RESOURCES)
