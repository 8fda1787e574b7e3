"""Which weeks need a run: landed but not forecast, corrected since they were loaded, forecast from outdated inputs.

Everything here compares the landed files with the lake. There is no state of its own, so nothing is lost while the
daemon is off.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import dagster as dg

from m5_assets.assets.landing import landed_numbers
from m5_assets.automation.run_statuses import UNFINISHED
from m5_assets.dagster_internals import PARTITION_NAME_TAG
from m5_assets.readers.known_inputs import KnownInputs, calendar_content
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing, content_by_week, sum_totals
from m5_assets.settings import Settings, settings
from m5_assets.weeks import Week, last_full_week, week_containing, weeks_between

FORECAST = "ensemble_forecast"

Contents: TypeAlias = Mapping[str, Mapping[str, str]]
"""Digests of the landed content, by dataset (`raw_sales`, `store_dept_sales`) and week."""


def earliest_week(first_landed: dt.date, source: Settings) -> Week:
    """Return the first week with `M5_MIN_HISTORY_WEEKS` weeks of sales."""
    return week_containing(first_landed).shift(source.min_history_weeks - 1)


def due_weeks(lake: Lake, landed: tuple[dt.date, dt.date], now: dt.datetime, source: Settings) -> list[Week]:
    """Return the weeks of live data that are over, fully landed and newer than the newest forecast, oldest first.

    A lake without a forecast starts with the newest such week; earlier weeks are left to `m5 backfill`.
    """
    last = week_containing(landed[1] + dt.timedelta(days=1)).shift(-1)
    last = min(last, last_full_week(now, source))
    done = lake.partitions(FORECAST)
    first = Week.parse(done[-1]).shift(1) if done else last
    return weeks_between(max(first, earliest_week(landed[0], source)), last)


def replay_week(
    lake: Lake, landed: tuple[dt.date, dt.date], source: Settings, asked: Collection[str] = ()
) -> Week | None:
    """Return the earliest week of frozen data not yet forecast that has enough history; None when all are.

    Args:
        lake: holds the forecasts.
        landed: first and last day of the landed sales.
        source: settings with a last week.
        asked: weeks whose run is queued or running.
    """
    if source.last_week is None:
        raise ValueError("a replay needs frozen data: set M5_LAST_WEEK")
    done = {*lake.partitions(FORECAST), *asked}
    weeks = weeks_between(earliest_week(landed[0], source), Week(source.last_week))
    return next((week for week in weeks if week.key not in done), None)


def unfinished_weeks(instance: dg.DagsterInstance, job: str) -> set[str]:
    """Return the weeks that have a queued or running run of this job."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def landed_contents(reader: Landing) -> Contents:
    """Return a digest of the landed sales and totals for each of their weeks; the first week may be incomplete.

    Reads both files completely.

    Raises:
        BadInput: a file is invalid.
    """
    sales, totals, days = reader.sales(), reader.totals(), reader.calendar().set_index("d")["date"]
    first, last = days[sales.first_day].date(), days[sales.last_day].date()
    by_week = {}
    for week in weeks_between(week_containing(first), week_containing(last + dt.timedelta(days=1)).shift(-1)):
        begin = sales.first_day + (max(week.first_day, first) - first).days
        by_week[week.key] = sales.content(begin, sales.first_day + (week.origin - first).days)
    contents = {"raw_sales": by_week, "store_dept_sales": dict[str, str]()}
    for source in (*([totals] if totals else []), sum_totals(sales)):  # as `store_dept_sales` takes them
        for week in weeks_between(week_containing(days[source.first_day].date()), week_containing(last)):
            if numbers := landed_numbers(week, source, days):
                contents["store_dept_sales"].setdefault(week.key, source.content(numbers[0], numbers[-1]))
    return contents


def weeks_to_load(lake: Lake, contents: Contents, due: Sequence[Week]) -> list[Week]:
    """Return the weeks whose landed sales differ from the lake, and those missing from the due weeks' history windows.

    The due weeks themselves are left out, because their own runs load them.
    """
    wanted = _changed(lake, "raw_sales", contents)
    if due:
        held = set(lake.partitions("raw_sales"))
        window = weeks_between(due[0].shift(1 - settings().history_weeks), due[0].shift(-1))
        wanted |= {week.key for week in window if week.key in contents["raw_sales"] and week.key not in held}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in due})]


def totals_to_load(lake: Lake, contents: Contents, loading: Sequence[Week], due: Sequence[Week]) -> list[Week]:
    """Return the weeks whose landed totals differ from the lake, and those before the due weeks that the lake lacks.

    Weeks in `loading` and `due` are left out, because their runs load the totals too.
    """
    wanted = _changed(lake, "store_dept_sales", contents)
    if due:
        held = set(lake.partitions("store_dept_sales"))
        wanted |= {key for key in contents["store_dept_sales"] if key < due[0].key and key not in held}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in (*loading, *due)})]


def _changed(lake: Lake, dataset: str, contents: Contents) -> set[str]:
    manifests = {key: lake.find(dataset, key) for key in lake.partitions(dataset)}
    # A manifest that cannot be read names no content, so its week is loaded again.
    held = {key: found.attributes.get("content") if found else "" for key, found in manifests.items()}
    # Totals without a content digest are sums of raw_sales, whose own digest shows corrections.
    same = {key for key, content in held.items() if content is None and dataset == "store_dept_sales"}
    return {key for key, content in contents[dataset].items() if key in held and held[key] != content} - same


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


def stale_weeks(lake: Lake) -> dict[Week, list[str]]:
    """Return the forecast weeks whose features were computed from inputs that have changed since.

    Returns:
        The names of the changed inputs by week, oldest first.
    """
    known = KnownInputs(lake)
    changed = {week: known.changed(week) for week in map(Week.parse, lake.partitions(FORECAST))}
    return {week: names for week, names in changed.items() if names}
