"""The first stage: what was landed, as the lake's tables. `raw_sales` by week, `sell_prices` and `calendar` whole.

Not here: how a CSV file is read and what makes it unacceptable (`m5_assets.resources.landing`).
"""

from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.assets.presentation import column_schema, preview
from m5_assets.forecasting.history import DailyUnits
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing import BadInput
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.weeks import WEEKS, Week


def _refuse(problem: BadInput) -> dg.Failure:
    # Permanent: the same file gives the same answer, however often it is tried.
    return dg.Failure(description=str(problem), allow_retries=False)


@dg.asset(
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="landing",
    kinds={"csv", "parquet"},
    description="A week of daily unit sales of every product in every store, from the landed sales file. "
    "All weeks of the back-history load in one run, in one pass over the file.",
)
def raw_sales(context: dg.AssetExecutionContext, landing: LandingResource, lake: Lake) -> dg.MaterializeResult[Any]:
    """Split the wide sales file into weekly tables."""
    weeks = [Week.parse(key) for key in context.partition_keys]
    try:
        reader = landing.open()
        sales, days = reader.sales(), reader.calendar().set_index("d")["date"]
    except BadInput as problem:
        raise _refuse(problem) from problem
    first, last = days[sales.first_day].date(), days[sales.last_day].date()
    outside = [w.key for w in weeks if w.origin > last or w.origin < first]
    if outside and (len(weeks) == 1 or len(outside) == len(weeks)):
        raise dg.Failure(
            f"week {outside[0]} is not in the landed sales file, which holds {first} to {last} "
            f"(d_{sales.first_day} to d_{sales.last_day}); land a file that reaches the week's last day",
            allow_retries=False,
        )
    rows = 0
    written = [week for week in weeks if week.key not in set(outside)]
    for number, week in enumerate(written, start=1):
        start = max(week.first_day, first)
        columns = slice((start - first).days, (week.origin - first).days + 1)
        table = DailyUnits(sales.series, start, np.ascontiguousarray(sales.units[:, columns])).table()
        with lake.staging() as staged:
            pq.write_table(table, staged / "sales.parquet", compression="zstd")
            attributes = {"rows": table.num_rows, "landed_first_day": first.isoformat()}
            lake.publish("raw_sales", week.key, staged, inputs={}, attributes=attributes)
        rows += table.num_rows
        if number % 10 == 0 or number == len(written):
            context.log.info(f"{number} of {len(written)} weeks written, {rows:,} rows")
    if outside:
        context.log.warning(f"{len(outside)} weeks outside {first} to {last} were asked for and do not exist")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "dagster/column_schema": column_schema(table),
            "weeks": len(written),
            "series": len(sales.series),
            "units": int(table["units"].to_numpy().sum()),
            "landed_days": f"{first} to {last}",
            "preview": preview(table),
        }
    )


def _whole_table(lake: Lake, name: str, table: pa.Table) -> dg.MaterializeResult[Any]:
    with lake.staging() as staged:
        pq.write_table(table, staged / f"{name}.parquet", compression="zstd")
        manifest = lake.publish(name, None, staged, inputs={}, attributes={"rows": table.num_rows})
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table),
            "bytes": manifest.bytes,
            "preview": preview(table),
        }
    )


@dg.asset(
    group_name="landing",
    kinds={"csv", "parquet"},
    description="The price of every product in every store and calendar week, those of the coming four weeks included.",
)
def sell_prices(landing: LandingResource, lake: Lake) -> dg.MaterializeResult[Any]:
    """Read the landed price file."""
    try:
        return _whole_table(lake, "sell_prices", landing.open().sell_prices())
    except BadInput as problem:
        raise _refuse(problem) from problem


@dg.asset(
    group_name="landing",
    kinds={"csv", "parquet"},
    description="Days, Walmart's weeks, events and SNAP days by state, known in advance.",
)
def calendar(landing: LandingResource, lake: Lake) -> dg.MaterializeResult[Any]:
    """Read the landed calendar."""
    try:
        return _whole_table(lake, "calendar", pa.Table.from_pandas(landing.open().calendar(), preserve_index=False))
    except BadInput as problem:
        raise _refuse(problem) from problem
