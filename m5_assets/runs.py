"""Runs of the platform's jobs from a program: one week, several weeks, their accuracy.

What the schedule does on its own, these do on demand, with everything that a week needs before it. Every run is an
ordinary Dagster run of the instance, seen in the UI. Not here: what the jobs consist of (`jobs`).
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from sqlalchemy import Table

import m5_assets
from m5_assets import due, housekeeping
from m5_assets.assets.features import CurrentSales
from m5_assets.definitions import defs
from m5_assets.due import FORECAST
from m5_assets.errors import UserError
from m5_assets.resources.jobs import HEAVY
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.resources.postgres import PostgresResource, migrate, schema
from m5_assets.resources.postgres.load import loaded_weeks
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


def prepare_instance() -> None:
    """Make the Dagster instance ready for a daemon: its folder, its configuration, the pools' limits."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        set_limits(instance)


def set_limits(instance: dg.DagsterInstance) -> None:
    """Give the pools the places that the settings allow; Dagster keeps pools' limits in its database."""
    storage = instance.event_log_storage
    if storage.get_concurrency_info(HEAVY).slot_count != settings().heavy_jobs:
        storage.set_concurrency_slots(HEAVY, settings().heavy_jobs)


def forecast_week(week: Week) -> None:
    """Make the week's forecast and everything it needs: the back-history first, then the weekly job.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files cannot be used, or do not hold the week.
    """
    _check_landed([week])
    _load_back_history(week, week.shift(-1))
    _run(weekly_forecast_job, {PARTITION_NAME_TAG: week.key})


def backfill_weeks(weeks: list[Week], *, again: bool = False) -> list[Week]:
    """Make the forecasts of exactly these weeks, oldest first, and return those made now.

    The sales that all of them need are loaded first, in as few runs as there are gaps; then each week is one run, with
    the model in force for it. Weeks whose last run succeeded, and whose sales have not changed since, are passed over:
    called again after a stop, it goes on where it was.

    Args:
        weeks: in any order.
        again: make all of them.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files cannot be used, or do not hold a week.
    """
    weeks = sorted(weeks)
    _check_landed(weeks)
    _load_back_history(weeks[0], weeks[-1])
    todo = weeks if again else [week for week in weeks if not _is_made(week)]
    log.info("%d weeks asked for, %d of them to be made", len(weeks), len(todo))
    begin = time.monotonic()
    for number, week in enumerate(todo, start=1):
        log.info("week %s, %d of %d", week, number, len(todo))
        _run(weekly_forecast_job, {PARTITION_NAME_TAG: week.key})
        left = (time.monotonic() - begin) / number * (len(todo) - number)
        log.info("week %s is made, about %d min left", week, round(left / 60))
    return todo


def _is_made(week: Week) -> bool:
    """Tell whether the week's last run succeeded and nothing that it was made from has changed."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(
            dg.RunsFilter(job_name="weekly_forecast", tags={PARTITION_NAME_TAG: week.key}, statuses=FINISHED_STATUSES),
            limit=1,
        )
    lake = Lake(root=settings().lake)
    made = lake.find(FORECAST, week.key) is not None and bool(runs) and runs[0].is_success
    return made and not CurrentSales(lake).changed_inputs(week)


def _check_landed(weeks: list[Week]) -> None:
    first_day, last_day = landed_days()
    for week in weeks:
        if not first_day <= week.origin <= last_day:
            raise UserError(
                f"week {week} is not in the landed sales file, which holds {first_day} to {last_day}: "
                f"land a file that reaches {week.origin} in {settings().landing}"
            )


def score_weeks(weeks: list[Week]) -> list[Week]:
    """Make the accuracy of those weeks whose four weeks ahead are landed, and return them."""
    _, last_day = landed_days()
    matured = [w for w in weeks if w.last_forecast_day <= last_day]
    if matured:
        _load_back_history(min(matured), max(matured).shift(HORIZON_DAYS // 7))
    for week in matured:
        _run(accuracy_job, {PARTITION_NAME_TAG: week.key})
    return matured


def clean(*, dry_run: bool) -> list[str]:
    """Remove what the settings do not keep, and return a line a kind of it."""
    dagster_home()
    lake = Lake(root=settings().lake)
    with dg.DagsterInstance.get() as instance:
        removals = housekeeping.plan(lake, instance, settings().retention, dt.datetime.now(dt.UTC))
        if not dry_run:
            housekeeping.carry_out(removals, lake, instance)
    return housekeeping.summary(removals)


def landed_days() -> tuple[dt.date, dt.date]:
    """Return the first and the last day of the landed sales."""
    return due.landed_days(LandingResource(root=settings().landing).open())


def _load_back_history(first: Week, last: Week) -> None:
    """Load the sales from the first week's window up to the last week that the lake lacks, and all earlier totals."""
    first_day, _ = landed_days()
    window_start = max(week_containing(first_day), first.shift(1 - settings().history_weeks))
    _load_missing("raw_sales", schema.sales, weeks_between(window_start, last), ["sell_prices", "calendar"])
    totals_start = week_containing(_totals_since(first_day))
    _load_missing("store_dept_sales", schema.store_dept_sales, weeks_between(totals_start, last))


def _totals_since(first_day: dt.date) -> dt.date:
    reader = LandingResource(root=settings().landing).open()
    landed = reader.totals()
    return min(first_day, reader.calendar().set_index("d")["date"][landed.first_day].date()) if landed else first_day


def _load_missing(dataset: str, table: Table, weeks: list[Week], with_assets: Sequence[str] = ()) -> None:
    source = settings()
    engine = PostgresResource(url=source.database_url.get_secret_value(), home=str(source.home)).engine()
    migrate.upgrade(engine)
    present = set(Lake(root=source.lake).partitions(dataset))
    loaded = loaded_weeks(engine, table)
    missing = [w for w in weeks if w.key not in present or w.first_day not in loaded]
    if missing:
        log.info("loading %s, weeks %s to %s", dataset, missing[0], missing[-1])
        span = {ASSET_PARTITION_RANGE_START_TAG: missing[0].key, ASSET_PARTITION_RANGE_END_TAG: missing[-1].key}
        _run(back_history_job, span, [dataset, f"rds/{table.name}", *with_assets])


def _run(job: Callable[[], dg.JobDefinition], tags: dict[str, str], assets: Sequence[str] = ()) -> None:
    dagster_home()
    chosen = [dg.AssetKey.from_user_string(name) for name in assets] or None
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
