"""Which weeks need a run: landed but not forecast, or forecast or scored from inputs that have changed since.

Everything here compares the landed files with the lake. There is no state of its own, so nothing is lost while the
daemon is off. Not here: which landed weeks must be loaded first (`m5_assets.automation.landed_loads`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import dagster as dg

from m5_assets.automation.run_statuses import UNFINISHED
from m5_assets.checks.features import CURRENT
from m5_assets.checks.recording import Finding, record_again
from m5_assets.dagster_internals import PARTITION_NAME_TAG
from m5_assets.readers.known_inputs import KnownInputs, digest_of
from m5_assets.resources.lake import Lake
from m5_assets.settings import Settings
from m5_assets.weeks import (
    HORIZON_DAYS,
    Week,
    last_complete_week,
    last_full_week,
    week_containing,
    weeks_between,
)

FORECAST = "ensemble_forecast"


def earliest_week(first_landed: dt.date, source: Settings) -> Week:
    """Return the first week with `M5_MIN_HISTORY_WEEKS` weeks of sales."""
    return week_containing(first_landed).shift(source.min_history_weeks - 1)


def due_weeks(lake: Lake, landed: tuple[dt.date, dt.date], now: dt.datetime, source: Settings) -> list[Week]:
    """Return the weeks of live data that are over, fully landed and newer than the newest forecast, oldest first.

    A lake without a forecast starts with the newest such week; earlier weeks are left to `m5 backfill`.
    """
    last = min(last_complete_week(landed[1]), last_full_week(now, source))
    done = lake.partitions(FORECAST)
    first = Week.parse(done[-1]).shift(1) if done else last
    return weeks_between(max(first, earliest_week(landed[0], source)), last)


def replay_week(
    lake: Lake, first_landed: dt.date, last: Week, source: Settings, asked: Collection[str] = ()
) -> Week | None:
    """Return the earliest week of frozen data not yet forecast that has enough history; None when all are.

    Args:
        lake: holds the forecasts.
        first_landed: first day of the landed sales.
        last: the data's last week, see `frozen_week`.
        source: the settings.
        asked: weeks whose run is queued or running.
    """
    done = {*lake.partitions(FORECAST), *asked}
    weeks = weeks_between(earliest_week(first_landed, source), last)
    return next((week for week in weeks if week.key not in done), None)


def unfinished_weeks(instance: dg.DagsterInstance, job: str) -> set[str]:
    """Return the weeks that have a queued or running run of this job."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED))
    return {run.tags[PARTITION_NAME_TAG] for run in runs if PARTITION_NAME_TAG in run.tags}


def weeks_to_score(lake: Lake) -> list[Week]:
    """Return the forecast weeks whose four weeks of sales are loaded and that are not scored on them, oldest first."""
    loaded = set(lake.partitions("raw_sales"))
    forecast = map(Week.parse, lake.partitions(FORECAST))
    return [week for week in forecast if {w.key for w in _ahead(week)} <= loaded and not is_scored(lake, week)]


def is_scored(lake: Lake, week: Week) -> bool:
    """Return whether a week's accuracy is that of its forecast, and of the four weeks of sales, as they are now.

    Scores of earlier versions did not record the sales and count as those of the present ones.
    """
    forecast, accuracy = lake.find(FORECAST, week.key), lake.find("forecast_accuracy", week.key)
    if forecast is None or accuracy is None:
        return False
    sales = [found for ahead in _ahead(week) if (found := lake.find("raw_sales", ahead.key))]
    now = {FORECAST: forecast.digest, "raw_sales": digest_of(sales)}
    return all(accuracy.inputs.get(name, digest) == digest for name, digest in now.items())


def _ahead(week: Week) -> list[Week]:
    return weeks_between(week.shift(1), week.shift(HORIZON_DAYS // 7))


def stale_weeks(lake: Lake) -> dict[Week, list[str]]:
    """Return the forecast weeks whose features were computed from inputs that have changed since.

    Returns:
        The names of the changed inputs by week, oldest first.
    """
    known = KnownInputs(lake)
    changed = {week: known.changed(week) for week in map(Week.parse, lake.partitions(FORECAST))}
    return {week: names for week, names in changed.items() if names}


def mark_stale(instance: dg.DagsterInstance, lake: Lake) -> list[Week]:
    """Record a failed check for each stale forecast, which the alerts report, and return the stale weeks."""
    stale = stale_weeks(lake)
    for week, names in stale.items():
        text = f"a corrected file changed the inputs of this forecast: {', '.join(names)}; "
        finding = Finding(False, f"{text}`m5 backfill --from {week} --to {week}` rebuilds it")
        record_again(instance, "features", CURRENT, week, finding)
    return list(stale)
