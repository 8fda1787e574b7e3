"""The asset `quicksight_refresh`, the last stage: it refreshes QuickSight after a load."""

from typing import Any

import dagster as dg

from m5_assets import asset_groups
from m5_assets.extras.quicksight.ingestion import Ingestion, read_loads, refresh
from m5_assets.extras.quicksight.quicksight_api import QuickSight, QuickSightError, Refused
from m5_assets.partitions import WEEKS
from m5_assets.resources.postgres import PostgresResource

NOT_REFRESHED = "not refreshed: M5_QUICKSIGHT_REFRESH is not set"
_CANNOT_PASS = {"AccessDeniedException", "UnsupportedUserEditionException", "InvalidParameterValueException"}


@dg.asset(
    group_name=asset_groups.DASHBOARDS,
    kinds={"quicksight"},
    partitions_def=WEEKS,
    deps=[
        "rds_forecast",
        "rds_series_outlook",
        "rds_store_dept_sales",
        "rds_store_dept_forecast",
        "rds_accuracy",
        "rds_aggregate_accuracy",
    ],
    description="QuickSight's copy (SPICE) of what is loaded in PostgreSQL: an ingestion for every data set that shows "
    "a new load. One that exists already, running or completed, is reused. Without M5_QUICKSIGHT_REFRESH it does "
    "nothing and says so: the weekly job is the same with and without QuickSight.",
)
def quicksight_refresh(
    context: dg.AssetExecutionContext, postgres: PostgresResource, quicksight: QuickSight
) -> dg.MaterializeResult[Any]:
    """Refresh every data set and wait for all of them."""
    if not quicksight.refresh:
        context.log.info(NOT_REFRESHED)
        return dg.MaterializeResult(metadata={"state": NOT_REFRESHED})
    done: list[Ingestion] = []
    try:
        for ingestion in refresh(quicksight, read_loads(postgres.engine())):
            context.log.info(f"{ingestion.data_set_id}: {ingestion.rows:,} rows in {ingestion.seconds} s")
            done.append(ingestion)
    except QuickSightError as problem:
        passes = not (isinstance(problem, Refused) and problem.code in _CANNOT_PASS)
        raise dg.Failure(str(problem), allow_retries=passes) from problem
    if not done:
        raise dg.Failure(
            "nothing is loaded that QuickSight shows; materialize the rds assets first", allow_retries=False
        )
    return dg.MaterializeResult(metadata=_metadata(done, quicksight))


def _metadata(done: list[Ingestion], quicksight: QuickSight) -> dict[str, Any]:
    lines = ["| data set | rows | seconds | ingestion |", "| --- | --- | --- | --- |"]
    for one in done:
        adopted = ", adopted" if one.adopted else ""
        lines.append(
            f"| [{one.data_set_id}]({one.link}) | {one.rows:,} | {one.seconds} | `{one.ingestion_id}`{adopted} |"
        )
    region, prefix = quicksight.region, quicksight.prefix
    dashboard = f"https://{region}.quicksight.aws.amazon.com/sn/dashboards/{prefix}-forecasts"
    return {
        "state": "refreshed",
        "dagster/row_count": sum(one.rows for one in done),
        "seconds": max(one.seconds for one in done),
        "ingestions": dg.MetadataValue.md("\n".join(lines)),
        "dashboard": dg.MetadataValue.url(dashboard),
    }
