"""Which weeks have to be made: landed and not forecast, changed since they were loaded, forecast from older sales.

Everything here compares what is landed with what the lake holds; nothing is remembered, so nothing is lost when the
daemon was off. Not here: when it is asked (`schedules`, `sensors`) and how a week is made (`jobs`).
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
"""What the landed files say of each week, by dataset (`raw_sales`, `store_dept_sales`) and week."""


def earliest_week(first_landed: dt.date, source: Settings) -> Week:
    """Return the first week that has `M5_MIN_HISTORY_WEEKS` of sales behind it."""
    return week_containing(first_landed).shift(source.min_history_weeks - 1)


def due_weeks(lake: Lake, landed: tuple[dt.date, dt.date], now: dt.datetime, source: Settings) -> list[Week]:
    """Return the weeks of live data that are over, landed whole and newer than the newest forecast, oldest first.

    A lake without any forecast begins with the newest such week: its past is a backfill, which somebody must want.
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
        lake: where the forecasts are.
        landed: first and last day of the landed sales.
        source: settings with a last week.
        asked: weeks whose run has not ended.
    """
    if source.last_week is None:
        raise ValueError("a replay needs frozen data: set M5_LAST_WEEK")
    done = {*lake.partitions(FORECAST), *asked}
    weeks = weeks_between(earliest_week(landed[0], source), Week(source.last_week))
    return next((week for week in weeks if week.key not in done), None)


def unfinished_weeks(instance: dg.DagsterInstance, job: str) -> set[str]:
    """Return the weeks for which a run of this job is queued or running."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def landed_contents(reader: Landing) -> Contents:
    """Name what the landed sales and totals say of each of their weeks; a first week may be a part.

    Reads both files whole.

    Raises:
        BadInput: a file is refused.
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
    """Return the weeks whose landed sales are not what the lake holds, and those that the due weeks' windows lack.

    The due weeks themselves are left out: their own runs load them.
    """
    wanted = _changed(lake, "raw_sales", contents)
    if due:
        held = set(lake.partitions("raw_sales"))
        window = weeks_between(due[0].shift(1 - settings().history_weeks), due[0].shift(-1))
        wanted |= {week.key for week in window if week.key in contents["raw_sales"] and week.key not in held}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in due})]


def totals_to_load(lake: Lake, contents: Contents, loading: Sequence[Week], due: Sequence[Week]) -> list[Week]:
    """Return the weeks whose landed totals are not what the lake holds, and those before the due weeks that it lacks.

    Weeks that are loaded or made anyway are left out: their totals are loaded with them.
    """
    wanted = _changed(lake, "store_dept_sales", contents)
    if due:
        held = set(lake.partitions("store_dept_sales"))
        wanted |= {key for key in contents["store_dept_sales"] if key < due[0].key and key not in held}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in (*loading, *due)})]


def _changed(lake: Lake, dataset: str, contents: Contents) -> set[str]:
    held = {key: lake.get(dataset, key).attributes.get("content") for key in lake.partitions(dataset)}
    # Totals that name no content are sums of raw_sales, which tells of its own corrections.
    same = {key for key, content in held.items() if content is None and dataset == "store_dept_sales"}
    return {key for key, content in contents[dataset].items() if key in held and held[key] != content} - same


def corrected_tables(lake: Lake, reader: Landing) -> list[str]:
    """Return the tables without weeks of which the landed file corrects what the lake holds.

    Prices of further weeks and further days of the calendar correct nothing: the next week's run loads them. Reads both
    files whole.

    Raises:
        BadInput: a file is refused.
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
    """Return the runs of consecutive weeks, each as its first and last week."""
    found: list[tuple[Week, Week]] = []
    for week in sorted(weeks):
        if found and found[-1][1].shift(1) == week:
            found[-1] = (found[-1][0], week)
        else:
            found.append((week, week))
    return found


def stale_weeks(lake: Lake) -> dict[Week, list[str]]:
    """Return the weeks with a forecast whose features were computed from other inputs than the lake holds now.

    Returns:
        The inputs that have changed, by week, oldest first.
    """
    known = KnownInputs(lake)
    changed = {week: known.changed(week) for week in map(Week.parse, lake.partitions(FORECAST))}
    return {week: names for week, names in changed.items() if names}
