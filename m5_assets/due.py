"""Which weeks have to be made: landed and not forecast, changed since they were loaded, forecast from older sales.

Everything here compares what is landed with what the lake holds; nothing is remembered, so nothing is lost when the
daemon was off. Not here: when it is asked (`schedules`, `sensors`) and how a week is made (`jobs`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from m5_assets.assets.features import CurrentSales
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing import Landing
from m5_assets.settings import Settings, settings
from m5_assets.weeks import Week, last_full_week, week_containing, weeks_between

FORECAST = "ensemble_forecast"


def landed_days(reader: Landing) -> tuple[dt.date, dt.date]:
    """Return the first and the last day of the landed sales, from the file's header alone."""
    numbers, days = reader.sales_days(), reader.calendar().set_index("d")["date"]
    return days[numbers[0]].date(), days[numbers[-1]].date()


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
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=NOT_FINISHED_STATUSES))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def landed_contents(reader: Landing) -> dict[str, str]:
    """Name what the landed file says of each of its weeks (`LandedSales.content`); a first week may be a part.

    Reads the whole file.

    Raises:
        BadInput: the file is refused.
    """
    sales, calendar = reader.sales(), reader.calendar()
    number = dict(zip(calendar["date"].dt.date, calendar["d"], strict=True))
    first, last = landed_days(reader)
    contents = {}
    for week in weeks_between(week_containing(first), week_containing(last + dt.timedelta(days=1)).shift(-1)):
        begin = max(week.first_day, first)
        contents[week.key] = sales.content(int(number[begin]), int(number[week.origin]))
    return contents


def weeks_to_load(lake: Lake, contents: Mapping[str, str], due: Sequence[Week]) -> list[Week]:
    """Return the weeks whose landed content is not what the lake holds, and those that the due weeks' windows lack.

    The due weeks themselves are left out: their own runs load them.
    """
    held = {key: lake.get("raw_sales", key).attributes.get("content") for key in lake.partitions("raw_sales")}
    wanted = {key for key, content in contents.items() if key in held and held[key] != content}
    if due:
        window = weeks_between(due[0].shift(1 - settings().history_weeks), due[0].shift(-1))
        wanted |= {week.key for week in window if week.key in contents and week.key not in held}
    return [Week.parse(key) for key in sorted(wanted - {week.key for week in due})]


def spans(weeks: Sequence[Week]) -> list[tuple[Week, Week]]:
    """Return the runs of consecutive weeks, each as its first and last week."""
    found: list[tuple[Week, Week]] = []
    for week in sorted(weeks):
        if found and found[-1][1].shift(1) == week:
            found[-1] = (found[-1][0], week)
        else:
            found.append((week, week))
    return found


def stale_weeks(lake: Lake) -> list[Week]:
    """Return the weeks with a forecast whose features were computed from other sales than the lake holds now."""
    current = CurrentSales(lake)
    return [week for week in map(Week.parse, lake.partitions(FORECAST)) if current.changed_inputs(week)]
