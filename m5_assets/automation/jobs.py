"""The jobs: what is run together. Not here: when (`schedules`), and the assets themselves (`assets`)."""

import datetime as dt

import dagster as dg

from m5_assets.automation import housekeeping as cleaning
from m5_assets.dagster_internals import UnresolvedAssetJobDefinition
from m5_assets.resources.lake import Lake
from m5_assets.resources.limits import Retention

_IN_ORDER = {"m5/order": "weekly"}
"""Runs with this tag run one at a time, in the order asked for (dagster.yaml): a week carries the last one's models."""

RETRIES = dg.RetryPolicy(max_retries=2, delay=15, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what passes by itself: a lost connection, a restarted database, a throttled request, a full disk made free.

Dagster does not apply it to failed checks, to a `dg.Failure` that forbids it (bad or missing input), nor to the errors
of jobs, which say for themselves whether another attempt can help (`m5_assets.resources.sagemaker_jobs`).
"""

LANDING = dg.AssetSelection.groups("landing")
FEATURES = dg.AssetSelection.groups("features")
FORECAST = FEATURES | dg.AssetSelection.groups("models", "predictions", "forecast")
RDS_HISTORY = dg.AssetSelection.assets("rds/calendar", "rds/sales", "rds/store_dept_sales")
RDS_FORECAST = dg.AssetSelection.assets("rds/forecast", "rds/series_outlook", "rds/store_dept_forecast")
ACCURACY = dg.AssetSelection.assets("forecast_accuracy", "rds/accuracy", "rds/aggregate_accuracy")
DASHBOARDS = dg.AssetSelection.groups("dashboards")

weekly_forecast = dg.define_asset_job(
    "weekly_forecast",
    selection=LANDING | FORECAST | RDS_HISTORY | RDS_FORECAST | DASHBOARDS,
    tags=_IN_ORDER,
    op_retry_policy=RETRIES,
    description="A week from the landed files to PostgreSQL: its sales, features, models in force, forecasts, load, "
    "refresh of QuickSight.",
)
back_history = dg.define_asset_job(
    "back_history",
    selection=LANDING | RDS_HISTORY,
    op_retry_policy=RETRIES,
    description="Weeks of sales, prices and calendar from the landed files to the lake and PostgreSQL; all weeks in "
    "one run, in one pass.",
)
feature_weeks = dg.define_asset_job(
    "feature_weeks",
    selection=FEATURES,
    op_retry_policy=RETRIES,
    description="The features of weeks whose sales are loaded, before their forecasts; all weeks in one run, ten to a "
    "Processing job.",
)
accuracy = dg.define_asset_job(
    "accuracy",
    selection=ACCURACY | DASHBOARDS,
    op_retry_policy=RETRIES,
    description="The accuracy of a week's forecast, four weeks later, loaded to PostgreSQL and shown.",
)


@dg.op
def remove_old(context: dg.OpExecutionContext, lake: Lake, retention: Retention) -> None:
    """Remove what the settings do not keep."""
    removals = cleaning.plan(lake, context.instance, retention, dt.datetime.now(dt.UTC))
    for line in cleaning.summary(removals):
        context.log.info(line)
    cleaning.carry_out(removals, lake, context.instance)


@dg.job(description="Removes old features, predictions, unnamed files and runs: M5_RETENTION_*.")
def housekeeping() -> None:
    """Remove what the settings do not keep."""
    remove_old()


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    weekly_forecast,
    back_history,
    feature_weeks,
    accuracy,
    housekeeping,
]
