"""Which landed weeks must be loaded before a week is forecast or scored: those missing in the lake or corrected since.

Every way of starting a week asks here: `m5 forecast`, `m5 backfill`, `m5 score`, the schedule, the landing sensor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import dagster as dg

from m5_assets.assets.landing import landed_numbers
from m5_assets.automation.run_statuses import UNFINISHED
from m5_assets.dagster_internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from m5_assets.readers.known_inputs import calendar_content
from m5_assets.readers.landed_contents import differing_weeks, sales_contents
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing, content_by_week, sum_totals
from m5_assets.settings import settings
from m5_assets.weeks import Week, week_containing, weeks_between

Contents: TypeAlias = Mapping[str, Mapping[str, str]]
"""Digests of the landed content, by dataset (`raw_sales`, `store_dept_sales`) and week."""

TABLES: Mapping[str, Sequence[str]] = {"sell_prices": ("sell_prices",), "calendar": ("calendar", "rds_calendar")}
"""The assets of each unpartitioned table."""
_TOTALS = ("store_dept_sales", "rds_store_dept_sales")
_SALES = ("raw_sales", "rds_sales", *_TOTALS)
_FOLLOWERS = {"raw_sales": ("rds_sales", "store_dept_sales"), "store_dept_sales": ("rds_store_dept_sales",)}


@dataclass(frozen=True)
class Load:
    """A run that loads landed data into the lake and PostgreSQL.

    Attributes:
        name: what it loads, e.g. `2016-05-02 to 2016-05-16`.
        assets: the assets that it materializes.
        weeks: the first and last week; None for tables without weeks.
    """

    name: str
    assets: Sequence[str]
    weeks: tuple[Week, Week] | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its run, which give the weeks."""
        names = (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
        return {name: week.key for name, week in zip(names, self.weeks or (), strict=False)}

    def request(self, job: str, landing: str) -> dg.RunRequest:
        """Return the request of its run.

        Args:
            job: a job that has the assets.
            landing: names the landed files, or the time; nothing is requested twice for the same.
        """
        keys = [dg.AssetKey(name) for name in self.assets]
        return dg.RunRequest(run_key=f"load {self.name} {landing}", job_name=job, asset_selection=keys, tags=self.tags)


def loads(
    lake: Lake,
    contents: Contents,
    weeks: Sequence[Week],
    *,
    own: Collection[Week] = (),
    tables: Collection[str] = (),
    lacking: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[Load]:
    """Return the loads that must precede the forecasts or scores of these weeks, in order.

    They bring every week whose landed content differs from the lake, and what is missing of the weeks, of their history
    windows, and of all earlier totals. Prices and calendar come along with the first sales, whose rows need them.

    Args:
        lake: the lake.
        contents: what landed.
        weeks: the weeks to forecast or score, oldest first; empty for corrections alone.
        own: the weeks among them whose own runs load them.
        tables: the unpartitioned tables to load in any case.
        lacking: weeks that the lake has but not all that follows from them, by dataset, see `unfinished_loads`.
    """
    sales = weeks_to_load(lake, contents, weeks, own, lacking.get("raw_sales", ()))
    totals = totals_to_load(lake, contents, weeks, {*own, *sales}, lacking.get("store_dept_sales", ()))
    names = TABLES if sales else tables
    whole = [asset for name, assets in TABLES.items() if name in names for asset in assets]
    found = [Load(f"totals {first} to {last}", _TOTALS, (first, last)) for first, last in spans(totals)]
    for first, last in spans(sales):
        found.append(Load(f"{first} to {last}", (*whole, *_SALES), (first, last)))
        whole = []
    return sorted(found, key=lambda load: load.weeks or ()) + ([Load(", ".join(names), whole)] if whole else [])


def weeks_to_load(
    lake: Lake, contents: Contents, weeks: Sequence[Week], own: Collection[Week], lacking: Collection[str]
) -> list[Week]:
    """Return the lacking weeks, those whose landed sales differ from the lake, and those missing in the windows."""
    landed = contents["raw_sales"]
    wanted = differing_weeks(lake, "raw_sales", landed) | {key for key in lacking if key in landed}
    if weeks:
        window = weeks_between(weeks[0].shift(1 - settings().history_weeks), weeks[-1])
        wanted |= ({week.key for week in window} & landed.keys()) - {*lake.partitions("raw_sales")}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in own})]


def totals_to_load(
    lake: Lake, contents: Contents, weeks: Sequence[Week], loading: Collection[Week], lacking: Collection[str]
) -> list[Week]:
    """Return the lacking weeks, those whose landed totals differ from the lake, and those missing through the last one.

    Weeks in `loading` are left out, because their runs load the totals too.
    """
    landed = contents["store_dept_sales"]
    wanted = differing_weeks(lake, "store_dept_sales", landed) | {key for key in lacking if key in landed}
    if weeks:
        wanted |= {key for key in landed if key <= weeks[-1].key} - {*lake.partitions("store_dept_sales")}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in loading})]


def landed_contents(reader: Landing) -> Contents:
    """Return a digest of the landed sales and totals for each of their weeks; the first week may be incomplete.

    Reads both files completely.

    Raises:
        BadInput: a file is invalid.
    """
    sales, totals, days = reader.sales(), reader.totals(), reader.calendar().set_index("d")["date"]
    last, found = days[sales.last_day].date(), dict[str, str]()
    for source in (*([totals] if totals else []), sum_totals(sales)):  # as `store_dept_sales` takes them
        for week in weeks_between(week_containing(days[source.first_day].date()), week_containing(last)):
            if numbers := landed_numbers(week, source, days):
                found.setdefault(week.key, source.content(numbers[0], numbers[-1]))
    return {"raw_sales": sales_contents(sales, days), "store_dept_sales": found}


def corrected_tables(lake: Lake, reader: Landing) -> list[str]:
    """Return the unpartitioned tables in which the landed file corrects rows that the lake holds.

    Additional weeks of prices and additional calendar days correct nothing; the next weekly run loads them. Reads both
    files completely.

    Raises:
        BadInput: a file is invalid.
    """
    found, calendar = [], reader.calendar()
    prices, days = lake.find("sell_prices"), lake.find("calendar")
    if prices is not None:
        landed = content_by_week(reader.sell_prices(), calendar)
        if any(landed.get(day) != content for day, content in prices.attributes.get("contents", {}).items()):
            found.append("sell_prices")
    if days is not None:
        held = lake.read_table(days.files[0]).to_pandas()
        last_day = held["date"].max().date()
        if calendar_content(calendar, last_day) != calendar_content(held, last_day):
            found.append("calendar")
    return found


def spans(weeks: Sequence[Week]) -> list[tuple[Week, Week]]:
    """Group consecutive weeks; return the first and last week of each group."""
    found: list[tuple[Week, Week]] = []
    for week in sorted(weeks):
        if found and found[-1][1].shift(1) == week:
            found[-1] = (found[-1][0], week)
        else:
            found.append((week, week))
    return found


def unfinished_loads(instance: dg.DagsterInstance) -> dict[str, set[str]]:
    """Return the weeks of which an asset is newer than what is loaded from it, by dataset.

    A run that was killed or blocked between the two leaves such weeks: the lake has the landed content, and the totals
    or PostgreSQL still have what was there before.
    """
    newest = {
        name: instance.get_latest_storage_id_by_partition(dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION)
        for name in _SALES
    }
    return {
        dataset: {
            week
            for week, number in newest[dataset].items()
            if any(number > newest[follower].get(week, 0) for follower in followers)
        }
        for dataset, followers in _FOLLOWERS.items()
    }


def under_way(instance: dg.DagsterInstance) -> bool:
    """Return whether a load is queued or running."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return any(run.job_name == "back_history" or ASSET_PARTITION_RANGE_START_TAG in run.tags for run in runs)
