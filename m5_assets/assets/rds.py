"""The RDS tables: the forecast and its accuracy where dashboards and planners read them.

Not here: tables and loading (`m5_assets.resources.postgres`).
"""

from typing import Any

import dagster as dg
from sqlalchemy import Engine

from m5_assets.assets.accuracy import read_accuracy
from m5_assets.assets.ensemble import read_forecast
from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.load import LoadResult, load_accuracy, load_forecast
from m5_assets.resources.postgres.schema import create_all
from m5_assets.weeks import WEEKS, Week


def _database(postgres: PostgresResource) -> Engine:
    engine = postgres.engine()
    create_all(engine)
    return engine


def _loaded(result: LoadResult) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.rows,
            "sha256": result.sha256,
            "seconds": result.seconds,
            "rows_a_second": result.rows / max(result.seconds, 1e-9),
        }
    )


@dg.asset(
    key_prefix="rds",
    partitions_def=WEEKS,
    deps=["ensemble_forecast"],
    group_name="rds",
    kinds={"postgres"},
    description="The week's forecast of every series, day and model in PostgreSQL: one transaction, which replaces "
    "the week; readers see the old one or the new one.",
)
def forecast(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
    """Load the week's forecast."""
    week = Week.parse(context.partition_key)
    return _loaded(load_forecast(_database(postgres), week.first_day, read_forecast(lake, week), context.run_id))


@dg.asset(
    key_prefix="rds",
    partitions_def=WEEKS,
    deps=["forecast_accuracy"],
    group_name="rds",
    kinds={"postgres"},
    description="WRMSSE and bias of the week's forecast by model and level in PostgreSQL.",
)
def accuracy(context: dg.AssetExecutionContext, lake: Lake, postgres: PostgresResource) -> dg.MaterializeResult[Any]:
    """Load the week's accuracy."""
    week = Week.parse(context.partition_key)
    frame = read_accuracy(lake, week)
    frame = frame[frame["horizon_week"] == 0]
    return _loaded(load_accuracy(_database(postgres), week.first_day, frame, context.run_id))
