"""Running the platform's jobs from a command, in this process; the UI shows these runs like any other.

The jobs themselves are in `m5_assets.automation.jobs`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import dagster as dg

from m5_assets.automation.run_launcher import BEGUN_TAG, HOST_TAG, boot_time, fail_lost_runs
from m5_assets.cli.instance import dagster_home
from m5_assets.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
)
from m5_assets.definitions import defs
from m5_assets.errors import UserError
from m5_assets.weeks import Week

_CONSOLE = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}


class RunFailed(UserError):
    """A run failed; the message names the run, the failed steps and their reasons."""


# The process of each step imports its job by the name of one of these functions.


def weekly_forecast_job() -> dg.JobDefinition:
    """Return the job `weekly_forecast`."""
    return defs.resolve_job_def("weekly_forecast")


def back_history_job() -> dg.JobDefinition:
    """Return the job `back_history`."""
    return defs.resolve_job_def("back_history")


def feature_weeks_job() -> dg.JobDefinition:
    """Return the job `feature_weeks`."""
    return defs.resolve_job_def("feature_weeks")


def accuracy_job() -> dg.JobDefinition:
    """Return the job `accuracy`."""
    return defs.resolve_job_def("accuracy")


def one_week(week: Week) -> dict[str, str]:
    """Return the tags of a run of one week."""
    return {PARTITION_NAME_TAG: week.key}


def week_range(first: Week, last: Week) -> dict[str, str]:
    """Return the tags of a run over several consecutive weeks, `last` included."""
    return {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key}


def execute(
    job: Callable[[], dg.JobDefinition], tags: Mapping[str, str], assets: dg.AssetSelection | None = None
) -> None:
    """Run a job and wait for it.

    Args:
        job: one of the functions above.
        tags: the weeks, from `one_week` or `week_range`; empty for assets without weeks.
        assets: the part of the job to run; None for all of it.

    Raises:
        RunFailed: a step failed.
    """
    dagster_home()
    chosen = sorted(assets.resolve(defs.resolve_asset_graph())) if assets is not None else None
    # The host lets `fail_lost_runs` see that this process died; whoever called the command reruns it, not the daemon.
    tags = {**tags, HOST_TAG: os.uname().nodename, BEGUN_TAG: boot_time(), MAX_RETRIES_TAG: "0"}
    with dg.DagsterInstance.get() as instance:
        fail_lost_runs(instance)
        result = dg.execute_job(
            dg.reconstructable(job), instance, run_config=_CONSOLE, tags=tags, asset_selection=chosen
        )
        if result.success:
            return
        checks = _failed_checks(result.get_asset_check_evaluations())
        failures = [e for e in result.all_events if e.is_step_failure and not (checks and _is_failed_check(e))]
        reasons = [*(f"  {e.step_key}: {_reason(e)}" for e in failures), *checks]
        raise RunFailed(f"run {result.run_id} failed:\n" + "\n".join(reasons or ["  see its log in the UI"]))


def _failed_checks(evaluations: Iterable[dg.AssetCheckEvaluation]) -> list[str]:
    """Return what the failed blocking checks found, as the UI shows it."""
    failed = [each for each in evaluations if not each.passed and each.severity == dg.AssetCheckSeverity.ERROR]
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
