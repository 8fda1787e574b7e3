"""The jobs: which assets run together, and how their steps are retried."""

import datetime as dt
import sys

import dagster as dg

from m5_assets import asset_groups
from m5_assets.automation import housekeeping as cleaning
from m5_assets.automation.due_weeks import earliest_week
from m5_assets.dagster_internals import UnresolvedAssetJobDefinition
from m5_assets.partitions import KNOWN
from m5_assets.resources.lake import Lake
from m5_assets.resources.limits import Retention
from m5_assets.settings import settings

_IN_ORDER = {"m5/order": "weekly"}
"""dagster.yaml runs these one at a time, in the order of the requests: a week reuses the models of the week before."""


class _Retries(dg.RetryPolicy):
    """A retry policy that lets a cancelled run end; Dagster's own asks for a retry of the steps it interrupts."""

    def calculate_delay(self, attempt_num: int) -> float:
        """Return the seconds until the next attempt.

        Raises:
            DagsterExecutionInterruptedError: the step was interrupted, not failed.
        """
        if isinstance(sys.exception(), (dg.DagsterExecutionInterruptedError, KeyboardInterrupt)):
            raise dg.DagsterExecutionInterruptedError("the run was cancelled") from None
        return float(super().calculate_delay(attempt_num))


RETRIES = _Retries(max_retries=2, delay=15, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For temporary failures: a lost connection, a restarting database, a throttled request, a full disk.

Dagster does not retry failed checks, nor a `dg.Failure` with `allow_retries=False` (bad or missing input). Errors of
SageMaker jobs decide themselves whether a retry can help (`m5_assets.resources.sagemaker_jobs`).
"""

LANDING = dg.AssetSelection.groups(asset_groups.LANDING)
FEATURES = dg.AssetSelection.groups(asset_groups.FEATURES)
FORECAST = FEATURES | dg.AssetSelection.groups(asset_groups.MODELS, asset_groups.PREDICTIONS, asset_groups.FORECAST)
RDS_HISTORY = dg.AssetSelection.assets("rds_calendar", "rds_sales", "rds_store_dept_sales")
RDS_FORECAST = dg.AssetSelection.assets("rds_forecast", "rds_series_outlook", "rds_store_dept_forecast")
ACCURACY = dg.AssetSelection.assets("forecast_accuracy", "rds_accuracy", "rds_aggregate_accuracy")
DASHBOARDS = dg.AssetSelection.groups(asset_groups.DASHBOARDS)

weekly_forecast = dg.define_asset_job(
    "weekly_forecast",
    selection=LANDING | FORECAST | RDS_HISTORY | RDS_FORECAST | DASHBOARDS,
    tags=_IN_ORDER,
    op_retry_policy=RETRIES,
    description="Forecasts a week, from the landed files to PostgreSQL: sales, features, models, forecasts, load, "
    f"QuickSight refresh. A week needs M5_MIN_HISTORY_WEEKS={settings().min_history_weeks} weeks of sales"
    + (f": {earliest_week(KNOWN.first_sales_day, settings())} is the first." if KNOWN else "."),
)
back_history = dg.define_asset_job(
    "back_history",
    selection=LANDING | RDS_HISTORY,
    op_retry_policy=RETRIES,
    description="Loads sales, prices and calendar from the landed files into the lake and PostgreSQL; all weeks in "
    "one run and one pass.",
)
feature_weeks = dg.define_asset_job(
    "feature_weeks",
    selection=FEATURES,
    op_retry_policy=RETRIES,
    description="Computes the features of loaded weeks ahead of their forecasts; all weeks in one run, ten per "
    "Processing job.",
)
accuracy = dg.define_asset_job(
    "accuracy",
    selection=ACCURACY | DASHBOARDS,
    op_retry_policy=RETRIES,
    description="Scores a week's forecast four weeks later and loads its accuracy into PostgreSQL and the dashboards.",
)


@dg.op
def remove_old(context: dg.OpExecutionContext, lake: Lake, retention: Retention) -> None:
    """Delete what the retention settings do not keep."""
    removals = cleaning.plan(lake, context.instance, retention, dt.datetime.now(dt.UTC))
    for line in cleaning.summary(removals):
        context.log.info(line)
    cleaning.carry_out(removals, lake, context.instance)


@dg.job(description="Deletes old features, predictions, unreferenced files and runs: M5_RETENTION_*.")
def housekeeping() -> None:
    """Delete what the retention settings do not keep."""
    remove_old()


JOBS: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    weekly_forecast,
    back_history,
    feature_weeks,
    accuracy,
    housekeeping,
]
