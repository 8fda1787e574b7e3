"""Running the platform's jobs from a command, in this process; the UI shows these runs like any other.

The jobs themselves are in `m5_assets.automation.jobs`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping

import dagster as dg

from m5_assets.automation.run_launcher import BEGUN_TAG, COMMAND_TAG, boot_time, command_tag, fail_lost_runs
from m5_assets.cli.instance import dagster_home
from m5_assets.cli.run_display import Ran, shown
from m5_assets.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
    SINGLETON_REPOSITORY_NAME,
    ReconstructableRepository,
    RegisteredCodeLocationOrigin,
    RemoteRepositoryOrigin,
    UnresolvedAssetJobDefinition,
    execute_run_iterator,
)
from m5_assets.definitions import defs
from m5_assets.errors import Cancelled, UserError
from m5_assets.weeks import Week

_WATCH_SECONDS = 2.0
_CODE = ReconstructableRepository.for_module("m5_assets.definitions", "defs")
CODE_LOCATION = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("m5_assets"), SINGLETON_REPOSITORY_NAME)
"""The code location, named as in each workspace.yaml; the UI lists a run by it, and looks there to re-execute it."""


class RunFailed(UserError):
    """A run failed; the message names the run, the failed steps and their reasons."""


def one_week(week: Week) -> dict[str, str]:
    """Return the tags of a run of one week."""
    return {PARTITION_NAME_TAG: week.key}


def week_range(first: Week, last: Week) -> dict[str, str]:
    """Return the tags of a run over several consecutive weeks, `last` included."""
    return {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key}


def execute(
    job: UnresolvedAssetJobDefinition,
    tags: Mapping[str, str],
    assets: dg.AssetSelection | None = None,
    *,
    note: str = "",
) -> Ran:
    """Run a job, show its progress, wait for its end and return what it did.

    Args:
        job: one of `m5_assets.automation.jobs`.
        tags: the weeks, from `one_week` or `week_range`; empty for assets without weeks.
        assets: the part of the job to run; None for all of it.
        note: said with the run's name, such as its place among several.

    Raises:
        Cancelled: the run was cancelled, by Ctrl-C or in the UI.
        RunFailed: a step failed.
    """
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        fail_lost_runs(instance)
        run = _created(instance, job.name, tags, assets)
        title = f"{_described(run)}, {note}" if note else _described(run)
        with shown(instance, run, title) as done, _cancellable(instance, run):
            events = list(events_of(instance, run))
        ran = done()
        # From here on a re-execution, which inherits the tags, may be retried by the daemon like any other run.
        instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: str(instance.run_retries_max_retries)})
        ended = instance.get_run_by_id(run.run_id)
    if ended is not None and ended.status == dg.DagsterRunStatus.CANCELED:
        raise Cancelled(f"{_named(run)}; the same command resumes, finished jobs are reused")
    if ended is None or not ended.is_success:
        raise RunFailed(f"run {run.run_id} failed:\n" + "\n".join([*_reasons(events), f"  log: {ran.log_file}"]))
    return ran


def _created(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], assets: dg.AssetSelection | None
) -> dg.DagsterRun:
    """Create a run that this process will execute."""
    code = _CODE.get_reconstructable_job(job)
    definition = code.get_definition()
    run_id = str(uuid.uuid4())
    own = {COMMAND_TAG: command_tag(run_id), BEGUN_TAG: boot_time(), MAX_RETRIES_TAG: "0"}
    return instance.create_run_for_job(
        definition,
        run_id=run_id,
        tags={**definition.run_tags, **tags, **own},
        asset_selection=frozenset(assets.resolve(defs.resolve_asset_graph())) if assets is not None else None,
        remote_job_origin=CODE_LOCATION.get_job_origin(job),
        job_code_origin=code.get_python_origin(),
    )


def events_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[dg.DagsterEvent]:
    """Execute a run in this process and yield its events; Ctrl-C, or SIGTERM, cancels it and stops its jobs."""
    for event in execute_run_iterator(_CODE.get_reconstructable_job(run.job_name), run, instance):
        if _is_interruption(event) and not _is_cancelled(instance, run):
            # Dagster fails a run that was interrupted without such a request.
            instance.report_run_canceling(run, "Interrupted: stopping the steps and their jobs.")
        yield event


@contextlib.contextmanager
def _cancellable(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[None]:
    """Interrupt this process, as Ctrl-C does, once someone terminates the run in the UI, on whatever machine."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            if _is_cancelled(instance, run):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _is_cancelled(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    found = instance.get_run_by_id(run.run_id)
    return found is not None and found.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def _is_interruption(event: dg.DagsterEvent) -> bool:
    """Return whether the executor reports that it was interrupted and is now stopping its steps."""
    return event.is_engine_event and "steps_interrupted" in event.engine_event_data.metadata


def _named(run: dg.DagsterRun) -> str:
    return f"run {run.run_id} of {_described(run)}"


def _described(run: dg.DagsterRun) -> str:
    first = run.tags.get(PARTITION_NAME_TAG) or run.tags.get(ASSET_PARTITION_RANGE_START_TAG)
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG, first)
    weeks = "" if first is None else f", week {first}" if first == last else f", weeks {first} to {last}"
    return f"{run.job_name}{weeks}"


def _reasons(events: list[dg.DagsterEvent]) -> list[str]:
    """Return a line for each failed step and each failed blocking check."""
    checks = _failed_checks(events)
    failures = [e for e in events if e.is_step_failure and not (checks and _is_failed_check(e))]
    return [*(f"  {e.step_key}: {_reason(e)}" for e in failures), *checks] or ["  see its log in the UI"]


def _failed_checks(events: list[dg.DagsterEvent]) -> list[str]:
    """Return what the failed blocking checks found, as the UI shows it."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    found = [event.asset_check_evaluation_data for event in events if event.event_type == kind]
    failed = [each for each in found if not each.passed and each.severity == dg.AssetCheckSeverity.ERROR]
    lines = [f"  {each.asset_key.to_user_string()}, check {each.check_name}: {each.description}" for each in failed]
    return [*lines, "  what each check means and what to do: docs/operations.md"] if lines else []


def _is_failed_check(event: dg.DagsterEvent) -> bool:
    """Return whether a step failed because of blocking checks, whose findings say more than its error."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason recorded"
