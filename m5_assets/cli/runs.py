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
from sqlalchemy import Table

import m5_assets
from m5_assets.assets.features import WEEKS_A_JOB, are_made
from m5_assets.automation import due_weeks, housekeeping
from m5_assets.automation.due_weeks import FORECAST
from m5_assets.automation.jobs import DASHBOARDS, RDS_FORECAST
from m5_assets.automation.jobs import FORECAST as FORECAST_ASSETS
from m5_assets.automation.run_launcher import HOST_TAG, fail_lost_runs
from m5_assets.automation.run_statuses import FINISHED
from m5_assets.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
)
from m5_assets.definitions import defs
from m5_assets.errors import UserError
from m5_assets.readers.known_inputs import KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing
from m5_assets.resources.landing_files.landing_folder import LandingFolder
from m5_assets.resources.postgres import PostgresResource, migrate, schema
from m5_assets.resources.postgres.load import loaded_weeks
from m5_assets.resources.sagemaker_jobs import HEAVY, SageMakerJobs
from m5_assets.settings import settings
from m5_assets.weeks import HORIZON_DAYS, Week, week_containing, weeks_between

log = logging.getLogger("m5")

_TOTALS = dg.AssetSelection.assets("store_dept_sales", "rds/store_dept_sales")
_SALES = dg.AssetSelection.assets("raw_sales", "rds/sales") | _TOTALS
_WHOLE_TABLES = dg.AssetSelection.assets("sell_prices", "calendar", "rds/calendar")
_BACKFILLED = FORECAST_ASSETS | RDS_FORECAST | DASHBOARDS
"""What a backfill makes of a week: it has loaded the landed files of all its weeks before."""

_CONSOLE = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}


class RunFailed(UserError):
    """A run did not succeed; the message names the run, its steps and the first reason."""


def weekly_forecast_job() -> dg.JobDefinition:
    """Return the job by a name that the processes of its steps can import."""
    return defs.resolve_job_def("weekly_forecast")


def back_history_job() -> dg.JobDefinition:
    """Return the job by a name that the processes of its steps can import."""
    return defs.resolve_job_def("back_history")


def feature_weeks_job() -> dg.JobDefinition:
    """Return the job by a name that the processes of its steps can import."""
    return defs.resolve_job_def("feature_weeks")


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

    What all of them need is loaded first, in as few runs as there are gaps; then each week is one run, with the model
    in force for it, and before every tenth the features of the next ten in one. Weeks whose last run succeeded, and
    whose inputs have not changed since, are passed over: called again after a stop, it goes on where it was.

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
    _load_corrected()
    todo = weeks if again else [week for week in weeks if not _is_made(week)]
    log.info("%d weeks asked for, %d of them to be made", len(weeks), len(todo))
    begin = time.monotonic()
    for number, week in enumerate(todo, start=1):
        log.info("week %s, %d of %d", week, number, len(todo))
        _make_features(todo[number - 1 :])
        _run(weekly_forecast_job, {PARTITION_NAME_TAG: week.key}, _BACKFILLED)
        left = (time.monotonic() - begin) / number * (len(todo) - number)
        log.info("week %s is made, about %d min left", week, round(left / 60))
    return todo


def _is_made(week: Week) -> bool:
    """Tell whether the week's last run succeeded and nothing that it was made from has changed."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(
            dg.RunsFilter(job_name="weekly_forecast", tags={PARTITION_NAME_TAG: week.key}, statuses=FINISHED),
            limit=1,
        )
    lake = Lake(root=settings().lake)
    made = lake.find(FORECAST, week.key) is not None and bool(runs) and runs[0].is_success
    return made and not KnownInputs(lake).changed(week)


def _make_features(weeks: Sequence[Week]) -> None:
    """Make the features of the first of these weeks and those that follow it in the same job, where they lack."""
    source = settings()
    lake = Lake(root=source.lake)
    image = SageMakerJobs(home=str(source.home), lake=lake, job_settings=source.sagemaker).image("features")
    inputs, policy = KnownInputs(lake), ForecastPolicy.of(source)
    todo = []
    for place, week in enumerate(weeks[:WEEKS_A_JOB]):
        if week != weeks[0].shift(place) or are_made(lake, inputs.at(week, policy), image):
            break
        todo.append(week)
    if len(todo) > 1:  # a single week's own run makes them as well
        log.info("features of weeks %s to %s", todo[0], todo[-1])
        _run(feature_weeks_job, _range(todo[0], todo[-1]))


def _range(first: Week, last: Week) -> dict[str, str]:
    return {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key}


def _check_landed(weeks: list[Week]) -> None:
    first_day, last_day = landed().days()
    for week in weeks:
        if not first_day <= week.origin <= last_day:
            raise UserError(
                f"week {week} is not in the landed sales file, which holds {first_day} to {last_day}: "
                f"land a file that reaches {week.origin} in {settings().landing}"
            )


def score_weeks(weeks: list[Week]) -> list[Week]:
    """Make the accuracy of those weeks whose four weeks ahead are landed, and return them."""
    _, last_day = landed().days()
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


def landed() -> Landing:
    """Return the reader of the landed files."""
    return LandingFolder(root=settings().landing).open()


def _load_back_history(first: Week, last: Week) -> None:
    """Load the sales from the first week's window up to the last week that the lake lacks, and all earlier totals."""
    first_day, _ = landed().days()
    window_start = max(week_containing(first_day), first.shift(1 - settings().history_weeks))
    _load_missing("raw_sales", schema.sales, weeks_between(window_start, last), ["sell_prices", "calendar"])
    totals_start = week_containing(_totals_since(first_day))
    _load_missing("store_dept_sales", schema.store_dept_sales, weeks_between(totals_start, last))


def _totals_since(first_day: dt.date) -> dt.date:
    reader = landed()
    totals = reader.totals()
    return min(first_day, reader.calendar().set_index("d")["date"][totals.first_day].date()) if totals else first_day


def _load_missing(dataset: str, table: Table, weeks: list[Week], with_assets: Sequence[str] = ()) -> None:
    source = settings()
    engine = PostgresResource(url=source.database_url.get_secret_value(), home=str(source.home)).engine()
    migrate.upgrade(engine)
    present = set(Lake(root=source.lake).partitions(dataset))
    loaded = loaded_weeks(engine, table)
    missing = [w for w in weeks if w.key not in present or w.first_day not in loaded]
    if missing:
        log.info("loading %s, weeks %s to %s", dataset, missing[0], missing[-1])
        _run(
            back_history_job,
            _range(missing[0], missing[-1]),
            dg.AssetSelection.assets(dataset, f"rds/{table.name}", *with_assets),
        )


def _load_corrected() -> None:
    """Load the weeks again that the landed files correct, and prices and calendar as they are landed now."""
    lake, contents = Lake(root=settings().lake), due_weeks.landed_contents(landed())
    weeks = due_weeks.weeks_to_load(lake, contents, [])
    for assets, corrected in ((_SALES, weeks), (_TOTALS, due_weeks.totals_to_load(lake, contents, weeks, []))):
        for first, last in due_weeks.spans(corrected):
            log.info("loading corrected weeks %s to %s", first, last)
            _run(back_history_job, _range(first, last), assets)
    _run(back_history_job, {}, _WHOLE_TABLES)


def _run(job: Callable[[], dg.JobDefinition], tags: dict[str, str], assets: dg.AssetSelection | None = None) -> None:
    """Run a job, or the part of it that makes these assets.

    Raises:
        RunFailed: a step failed.
    """
    dagster_home()
    chosen = sorted(assets.resolve(defs.resolve_asset_graph())) if assets is not None else None
    # Of this machine, so that the loss of this process is noticed; who called makes it again, not the daemon.
    tags = {**tags, HOST_TAG: os.uname().nodename, MAX_RETRIES_TAG: "0"}
    with dg.DagsterInstance.get() as instance:
        fail_lost_runs(instance)
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
