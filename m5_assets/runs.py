"""Runs of the platform's jobs from a program: one week, several weeks, their accuracy.

What the schedule does on its own, these do on demand, with everything that a week needs before it. Every run is an
ordinary Dagster run of the instance, seen in the UI. Not here: what the jobs consist of (`jobs`).
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

import m5_assets
from m5_assets.definitions import defs
from m5_assets.errors import UserError
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.settings import settings
from m5_assets.weeks import HORIZON_DAYS, Week, week_containing, weeks_between

log = logging.getLogger("m5")

_CONSOLE = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}


class RunFailed(UserError):
    """A run did not succeed; the message names the run, its steps and the first reason."""


def weekly_forecast_job() -> dg.JobDefinition:
    """Return the job by a name that the processes of its steps can import."""
    return defs.resolve_job_def("weekly_forecast")


def back_history_job() -> dg.JobDefinition:
    """Return the job by a name that the processes of its steps can import."""
    return defs.resolve_job_def("back_history")


def accuracy_job() -> dg.JobDefinition:
    """Return the job by a name that the processes of its steps can import."""
    return defs.resolve_job_def("accuracy")


def dagster_home() -> Path:
    """Return $DAGSTER_HOME, made ready: by default a folder of M5_HOME, with the project's dagster.yaml in force."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(settings().home / "dagster")))
    home.mkdir(parents=True, exist_ok=True)
    config, link = Path(m5_assets.__file__).parents[1] / "dagster.yaml", home / "dagster.yaml"
    if config.exists() and not link.exists():
        link.symlink_to(config)
    return home


def forecast_week(week: Week) -> None:
    """Make the week's forecast and everything it needs: the back-history first, then the weekly job.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files cannot be used, or do not hold the week.
    """
    first_day, last_day = landed_days()
    if not first_day <= week.origin <= last_day:
        raise UserError(
            f"week {week} is not in the landed sales file, which holds {first_day} to {last_day}: "
            f"land a file that reaches {week.origin} in {settings().landing}"
        )
    _load_back_history(week)
    _run(weekly_forecast_job, {PARTITION_NAME_TAG: week.key})


def score_weeks(weeks: list[Week]) -> list[Week]:
    """Make the accuracy of those weeks whose four weeks ahead are landed, and return them."""
    _, last_day = landed_days()
    matured = [w for w in weeks if w.last_forecast_day <= last_day]
    for week in matured:
        _load_back_history(week.shift(HORIZON_DAYS // 7 + 1))
        _run(accuracy_job, {PARTITION_NAME_TAG: week.key})
    return matured


def landed_days() -> tuple[dt.date, dt.date]:
    """Return the first and the last day of the landed sales."""
    reader = LandingResource(root=settings().landing).open()
    numbers = reader.sales_days()
    days = reader.calendar().set_index("d")["date"]
    return days[numbers[0]].date(), days[numbers[-1]].date()


def _load_back_history(week: Week) -> None:
    """Load what the week sees of earlier weeks and the lake lacks: a run for sales, one for totals."""
    first_day, _ = landed_days()
    window_start = max(week_containing(first_day), week.shift(1 - settings().history_weeks))
    _load_missing("raw_sales", weeks_between(window_start, week.shift(-1)), ["sell_prices", "calendar"])
    _load_missing("store_dept_sales", weeks_between(week_containing(_totals_since(first_day)), week.shift(-1)))


def _totals_since(first_day: dt.date) -> dt.date:
    reader = LandingResource(root=settings().landing).open()
    landed = reader.totals()
    return min(first_day, reader.calendar().set_index("d")["date"][landed.first_day].date()) if landed else first_day


def _load_missing(dataset: str, weeks: list[Week], with_assets: Sequence[str] = ()) -> None:
    present = set(Lake(root=settings().lake).partitions(dataset))
    missing = [w for w in weeks if w.key not in present]
    if missing:
        log.info("loading %s, weeks %s to %s", dataset, missing[0], missing[-1])
        span = {ASSET_PARTITION_RANGE_START_TAG: missing[0].key, ASSET_PARTITION_RANGE_END_TAG: missing[-1].key}
        _run(back_history_job, span, [dataset, *with_assets])


def _run(job: Callable[[], dg.JobDefinition], tags: dict[str, str], assets: Sequence[str] = ()) -> None:
    dagster_home()
    chosen = [dg.AssetKey(name) for name in assets] or None
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(
            dg.reconstructable(job), instance, run_config=_CONSOLE, tags=tags, asset_selection=chosen
        )
        if result.success:
            return
        failures = [e for e in result.all_events if e.is_step_failure]
        reasons = [f"  {e.step_key}: {_reason(e)}" for e in failures]
        raise RunFailed(f"run {result.run_id} failed:\n" + "\n".join(reasons or ["  see its log in the UI"]))


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason recorded"
