"""The first stage: the landed files as tables in the lake; sales and totals by week, prices and calendar whole.

Each asset first verifies all landed files, not only its own (`LandingFolder.verified`): nothing is written while one of
them is invalid. Not here: reading and validating the CSV files (`m5_assets.resources.landing_files`).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets import asset_groups
from m5_assets.assets.presentation import column_schema, preview
from m5_assets.forecasting.history import DailyUnits, write_by_store
from m5_assets.partitions import WEEKS
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import BadInput, LandedTotals, content_by_week, sum_totals
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.weeks import Week


def _rejected(problem: BadInput) -> dg.Failure:
    # No retries: the same file would be rejected again.
    return dg.Failure(description=str(problem), allow_retries=False)


@dg.asset(
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=asset_groups.LANDING,
    kinds={"csv", "parquet"},
    description="The week's daily unit sales of every product in every store, from the landed sales file. "
    "The whole back-history loads in one run and one pass over the file.",
)
def raw_sales(context: dg.AssetExecutionContext, landing: LandingFolder, lake: Lake) -> dg.MaterializeResult[Any]:
    """Split the wide sales file into weekly tables.

    Raises:
        dg.Failure: a file is invalid, or does not hold the week.
    """
    weeks = [Week.parse(key) for key in context.partition_keys]
    before = {week.key: lake.version("raw_sales", week.key) for week in weeks}
    try:
        notes, reader = landing.verified().notes, landing.open()
        sales, days = reader.sales(), reader.calendar().set_index("d")["date"]
    except BadInput as problem:
        raise _rejected(problem) from problem
    first, last = days[sales.first_day].date(), days[sales.last_day].date()
    outside = [w.key for w in weeks if w.origin > last or w.origin < first]
    if outside and (len(weeks) == 1 or len(outside) == len(weeks)):
        raise dg.Failure(
            f"week {outside[0]} is not in the landed sales file, which covers {first} to {last} "
            f"(d_{sales.first_day} to d_{sales.last_day}); land a file that reaches the week's last day",
            allow_retries=False,
        )
    for note in notes:
        context.log.warning(note)
    rows = 0
    written = [week for week in weeks if week.key not in set(outside)]
    for number, week in enumerate(written, start=1):
        start = max(week.first_day, first)
        columns = slice((start - first).days, (week.origin - first).days + 1)
        table = DailyUnits(sales.series, start, np.ascontiguousarray(sales.units[:, columns])).table()
        with lake.staging() as staged:
            write_by_store(table, staged / "sales.parquet")
            attributes = {
                "rows": table.num_rows,
                "landed_first_day": first.isoformat(),
                "content": sales.content(sales.first_day + columns.start, sales.first_day + columns.stop - 1),
            }
            lake.publish("raw_sales", week.key, staged, inputs={}, attributes=attributes, replacing=before[week.key])
        rows += table.num_rows
        if number % 10 == 0 or number == len(written):
            context.log.info(f"{number} of {len(written)} weeks written, {rows:,} rows")
    if outside:
        context.log.warning(f"{len(outside)} of the requested weeks lie outside {first} to {last} and were skipped")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "dagster/column_schema": column_schema(table),
            "weeks": len(written),
            "series": len(sales.series),
            "units": int(table["units"].to_numpy().sum()),
            "landed_file": reader.sales_name(),
            "landed_days": f"{first} to {last}",
            "preview": preview(table),
        }
    )


@dg.asset(
    partitions_def=WEEKS,
    deps=["raw_sales"],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=asset_groups.LANDING,
    kinds={"csv", "parquet"},
    description="The week's daily totals per store-department: summed from the week's item sales if they are loaded, "
    "else from the optional file of older totals, else from the landed sales file. Where both sources exist, they "
    "must agree.",
)
def store_dept_sales(
    context: dg.AssetExecutionContext, landing: LandingFolder, lake: Lake
) -> dg.MaterializeResult[Any]:
    """Sum the week's item sales, or take its landed totals."""
    weeks, loaded = [Week.parse(key) for key in context.partition_keys], set(lake.partitions("raw_sales"))
    before = {week.key: lake.version("store_dept_sales", week.key) for week in weeks}
    try:
        landing.verified()
        reader = landing.open()
        landed, days = reader.totals(), reader.calendar().set_index("d")["date"]
        detail_first = days[reader.sales_days()[0]].date()
        others = {w for w in weeks if w.key not in loaded and not (landed and landed_numbers(w, landed, days))}
        summed = sum_totals(reader.sales()) if others else None
    except BadInput as problem:
        raise _rejected(problem) from problem
    first = min(detail_first, days[landed.first_day].date()) if landed else detail_first
    rows = 0
    for number, week in enumerate(weeks, start=1):
        source = summed if week in others else landed
        found = totals_of_week(lake, week, source, days)
        with lake.staging() as staged:
            pq.write_table(found, staged / "totals.parquet", compression="zstd")
            attributes = {"rows": found.num_rows, "landed_first_day": first.isoformat()}
            if source and (numbers := landed_numbers(week, source, days)):
                attributes["content"] = source.content(numbers[0], numbers[-1])
            lake.publish(
                "store_dept_sales", week.key, staged, inputs={}, attributes=attributes, replacing=before[week.key]
            )
        rows += found.num_rows
        if number % 50 == 0 or number == len(weeks):
            context.log.info(f"{number} of {len(weeks)} weeks written")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "dagster/column_schema": column_schema(found),
            "weeks": len(weeks),
            "landed_since": first.isoformat(),
            "preview": preview(found),
        }
    )


def totals_of_week(lake: Lake, week: Week, landed: LandedTotals | None, days: "pd.Series[Any]") -> pa.Table:
    """Return the week's totals as a tidy table: store_id, dept_id, cat_id, state_id, date, units.

    Raises:
        dg.Failure: neither the loaded sales nor the landed totals hold the week, or they contradict each other.
    """
    manifest = lake.find("raw_sales", week.key)
    detail = None
    if manifest is not None:
        table = lake.read_table(manifest.files[0])
        keys = ["store_id", "dept_id", "cat_id", "state_id", "date"]
        detail = table.group_by(keys).aggregate([("units", "sum")]).to_pandas().rename(columns={"units_sum": "units"})
        detail = detail.astype(dict.fromkeys(keys[:-1], str))
    totals = _landed_week(week, landed, days) if landed else None
    found = detail if detail is not None else totals
    if found is None:
        raise dg.Failure(
            f"week {week}: neither the sales file, the totals nor raw_sales hold it; land a file that holds the week",
            allow_retries=False,
        )
    if detail is not None and totals is not None:
        _compare(week, detail, totals)
        # The item sales may begin in the middle of the week. Groups that they lack have left.
        groups = ["store_id", "dept_id"]
        kept = pd.MultiIndex.from_frame(totals[groups]).isin(pd.MultiIndex.from_frame(detail[groups]))
        found = pd.concat([totals[kept & ~totals["date"].isin(detail["date"])], detail], ignore_index=True)
    found = found.sort_values(["store_id", "dept_id", "date"], ignore_index=True).astype({"units": "int64"})
    return pa.Table.from_pandas(found, preserve_index=False)


def landed_numbers(week: Week, landed: LandedTotals, days: "pd.Series[Any]") -> range:
    """Return the day numbers of the week that the landed totals cover; `days` maps day numbers to dates."""
    dates = days.loc[landed.first_day : landed.last_day]
    numbers = dates.index[(dates >= pd.Timestamp(week.first_day)) & (dates <= pd.Timestamp(week.origin))]
    return range(int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else range(0)


def _landed_week(week: Week, landed: LandedTotals, days: "pd.Series[Any]") -> pd.DataFrame | None:
    numbers = landed_numbers(week, landed, days)
    if not numbers:
        return None
    units = landed.units[:, numbers[0] - landed.first_day :]
    parts = [landed.groups.assign(date=days[number].date(), units=units[:, i]) for i, number in enumerate(numbers)]
    return pd.concat(parts, ignore_index=True)


def _compare(week: Week, detail: pd.DataFrame, totals: pd.DataFrame) -> None:
    groups = ["store_id", "dept_id"]
    # A group without units may be in one file only: it does not exist yet, or it has left.
    sold = [pd.MultiIndex.from_frame(frame.loc[frame["units"] > 0, groups]) for frame in (detail, totals)]
    held = [pd.MultiIndex.from_frame(frame[groups]) for frame in (detail, totals)]
    odd = sold[0].difference(held[1]).union(sold[1].difference(held[0]))
    if len(odd):
        raise dg.Failure(
            f"week {week}: {len(odd)} store-departments are in the sales file or sales_store_dept_history.csv but not "
            f"in both, the first {' '.join(map(str, odd[0]))}; land both files for the same stores or remove one",
            allow_retries=False,
        )
    keys = [*groups, "date"]
    both = detail.merge(totals, on=keys, suffixes=("", "_landed"))
    wrong = both[both["units"] != both["units_landed"]]
    if not wrong.empty:
        row = wrong.iloc[0]
        raise dg.Failure(
            f"week {week}: sales_store_dept_history.csv contradicts the detail in {len(wrong)} totals, the first "
            f"{row['store_id']}, {row['dept_id']}, {row['date']}: {row['units_landed']} against {row['units']} summed; "
            "land a totals file of the same extract, or remove it",
            allow_retries=False,
        )


def _whole_table(
    lake: Lake, name: str, table: pa.Table, before: str, attributes: Mapping[str, Any] | None = None
) -> dg.MaterializeResult[Any]:
    with lake.staging() as staged:
        pq.write_table(table, staged / f"{name}.parquet", compression="zstd")
        facts = {"rows": table.num_rows, **(attributes or {})}
        manifest = lake.publish(name, None, staged, inputs={}, attributes=facts, replacing=before)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table),
            "bytes": manifest.bytes,
            "preview": preview(table),
        }
    )


@dg.asset(
    group_name=asset_groups.LANDING,
    kinds={"csv", "parquet"},
    description="The price of every product in every store and calendar week, including the next four weeks.",
)
def sell_prices(landing: LandingFolder, lake: Lake) -> dg.MaterializeResult[Any]:
    """Read the landed price file."""
    before = lake.version("sell_prices")
    try:
        landing.verified()
        reader = landing.open()
        prices = reader.sell_prices()
        contents = content_by_week(prices, reader.calendar())
        return _whole_table(lake, "sell_prices", prices, before, {"contents": contents})
    except BadInput as problem:
        raise _rejected(problem) from problem


@dg.asset(
    group_name=asset_groups.LANDING,
    kinds={"csv", "parquet"},
    description="Days, Walmart's weeks, events and SNAP days by state; known in advance.",
)
def calendar(landing: LandingFolder, lake: Lake) -> dg.MaterializeResult[Any]:
    """Read the landed calendar."""
    before = lake.version("calendar")
    try:
        landing.verified()
        table = pa.Table.from_pandas(landing.open().calendar(), preserve_index=False)
        return _whole_table(lake, "calendar", table, before)
    except BadInput as problem:
        raise _rejected(problem) from problem
