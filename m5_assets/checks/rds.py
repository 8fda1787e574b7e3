"""What must hold of the database after a load: it shows what the lake holds."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text

from m5_assets.checks.accuracy import FINAL, overall, read_levels
from m5_assets.checks.landing import read_table
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource
from m5_assets.weeks import Week

_SUMS_AGREE = 1e-4  # single precision, added up in another order
FORECAST_CHECKS = (
    Check("matches_the_lake", "The week has as many rows as in the lake, and they sum to the same units."),
)
ACCURACY_CHECKS = (Check("matches_the_lake", "The week's WRMSSE of each model is that in the lake."),)


def same_rows(found: tuple[int, float], expected: tuple[int, float]) -> Finding:
    """Compare rows and units of the database with those of the lake."""
    text_ = (
        f"{found[0]:,} rows and {found[1]:,.0f} units in PostgreSQL, {expected[0]:,} and {expected[1]:,.0f} in the lake"
    )
    near = abs(found[1] - expected[1]) <= _SUMS_AGREE * max(abs(expected[1]), 1.0)
    return Finding(found[0] == expected[0] and near, text_, {"rows": found[0], "rows_expected": expected[0]})


def same_scores(found: Mapping[str, float], expected: Mapping[str, float]) -> Finding:
    """Compare the models' scores of the database with those of the lake."""
    odd = [m for m in {*found, *expected} if abs(found.get(m, -1.0) - expected.get(m, -1.0)) > _SUMS_AGREE]
    text_ = f"scores of {', '.join(sorted(found)) or 'no model'} in PostgreSQL"
    return Finding(not odd and bool(found), f"{text_}; those of {', '.join(sorted(odd))} differ" if odd else text_)


def forecast_examiner(lake: Lake, postgres: PostgresResource) -> Examiner:
    """Return the examiner of `rds/forecast`."""

    def examine(week: Week) -> Findings:
        table = read_table(lake, lake.get("ensemble_forecast", week.key))
        query = text(f"SELECT count(*), coalesce(sum({FINAL}::float8), 0) FROM m5.forecast WHERE week = :week")  # noqa: S608  # a constant's name
        with postgres.engine().connect() as connection:
            rows, units = connection.execute(query, {"week": week.first_day}).one()
        expected = (table.num_rows, float(table[FINAL].to_numpy().sum(dtype=float)))
        return {"matches_the_lake": same_rows((int(rows), float(units)), expected)}

    return examine


def accuracy_examiner(lake: Lake, postgres: PostgresResource) -> Examiner:
    """Return the examiner of `rds/accuracy`."""

    def examine(week: Week) -> Findings:
        query = text("SELECT model, wrmsse FROM m5.accuracy WHERE week = :week AND level = 0 AND horizon_week = 0")
        with postgres.engine().connect() as connection:
            found = {row.model: float(row.wrmsse) for row in connection.execute(query, {"week": week.first_day})}
        return {"matches_the_lake": same_scores(found, overall(read_levels(lake, week.key)))}

    return examine


rds_forecast_checks = weekly_checks(["rds", "forecast"], FORECAST_CHECKS, forecast_examiner, ("lake", "postgres"))
rds_accuracy_checks = weekly_checks(["rds", "accuracy"], ACCURACY_CHECKS, accuracy_examiner, ("lake", "postgres"))
