"""Runs that a command executes: what the terminal says, and that they are runs like any other in Dagster's UI.

With real processes: the command, its jobs, webserver, daemon and database.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from m5_assets.automation.run_launcher import is_of_command
from m5_assets.dagster_internals import MAX_RETRIES_TAG
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.sample import write_sample
from m5_assets.weeks import Week
from m5_assets_tests.support.home import Home
from m5_assets_tests.support.services import Services

WEEK = Week.parse("2016-05-16")
BAD = WEEK.shift(-1)
CANCELED, FAILURE, SUCCESS = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS
SETTINGS = {"M5_MIN_HISTORY_WEEKS": "8"}
WIDENED = SETTINGS | {"M5_CHECKS_UNITS_FACTOR": "100000"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home whose last week but one has a bulk order that a check takes for a typing error."""
    path = tmp_path_factory.mktemp("runs")
    write_sample(path / "landing", items=7, weeks=10, seed=1)
    file = path / "landing" / "sales_train_evaluation.csv"
    sales = pd.read_csv(file)
    sales.iloc[0, -8] = 90_000
    sales.to_csv(file, index=False)
    yield path
    EmbeddedServer(path).stop()


@pytest.fixture(scope="module")
def failed(path: Path) -> subprocess.CompletedProcess[str]:
    """Return what the command says of a week whose history a check stopped."""
    return Home(path, others=SETTINGS).m5("forecast", "--week", WEEK.key)


@pytest.fixture(scope="module")
def instance(path: Path, failed: subprocess.CompletedProcess[str]) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(path / "dagster")) as found:
        yield found


@pytest.fixture(scope="module")
def services(path: Path, instance: dg.DagsterInstance) -> Iterator[Services]:
    """Return webserver and daemon, started with the widened limit after the command had failed."""
    environment = Home(path, others=WIDENED).environment
    services = Services(path, environment | {"DAGSTER_HOME": str(path / "dagster")})
    services.start("webserver")
    services.start("daemon")
    yield services
    services.close()


def _latest(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun:
    return instance.get_runs(dg.RunsFilter(job_name=job), limit=1)[0]


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.DagsterEvent]:
    return [entry.get_dagster_event() for entry in instance.all_logs(run.run_id) if entry.is_dagster_event]


def _ended(instance: dg.DagsterInstance, services: Services, run_id: str) -> dg.DagsterRun:
    """Wait for the end of a run and return it."""

    def run() -> dg.DagsterRun:
        found = instance.get_run_by_id(run_id)
        assert found is not None
        return found

    services.until(lambda: run().is_finished, 400, f"run {run_id} ends")
    return run()


def test_a_blocking_check_that_fails_is_named_with_what_it_found(failed: subprocess.CompletedProcess[str]) -> None:
    assert failed.returncode == 1
    said = failed.stderr[failed.stderr.index("Error: run ") :]
    assert "raw_sales, check units_in_range: failed for 1 of 9 weeks" in said
    assert "90,000 of " in said  # the series and the day
    assert "if that is true, set M5_CHECKS_UNITS_FACTOR=" in said
    assert "docs/operations.md" in said
    assert "DagsterAssetCheckFailedError" not in said
    assert "Traceback" not in said


@pytest.mark.long
def test_a_run_of_a_command_is_on_the_home_page_and_on_its_jobs_page(
    instance: dg.DagsterInstance, services: Services
) -> None:
    run = _latest(instance, "back_history")
    assert ("back_history", run.run_id) in services.timeline("FAILURE")
    assert run.run_id in services.runs_of("back_history")


@pytest.mark.long
def test_a_check_whose_limit_was_widened_is_executed_alone(instance: dg.DagsterInstance, services: Services) -> None:
    run = _ended(instance, services, services.execute_check("raw_sales", "units_in_range", BAD))
    assert run.status == SUCCESS
    events = _events(instance, run)
    evaluated = [event for event in events if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    (found,) = [event.asset_check_evaluation_data for event in evaluated]
    assert (found.check_name, found.passed, found.partition) == ("units_in_range", True, BAD.key)
    assert not [event for event in events if event.is_step_materialization]


@pytest.mark.long
def test_a_failed_run_of_a_command_is_re_executed_from_failure(
    instance: dg.DagsterInstance, services: Services
) -> None:
    parent = _latest(instance, "back_history")
    run = _ended(instance, services, services.reexecute(parent.run_id))
    assert run.status == SUCCESS
    steps = {stats.step_key for stats in instance.get_run_step_stats(run.run_id)}
    assert "raw_sales_checks" in steps
    assert "raw_sales" not in steps
    # The daemon may retry it, and the sensor `lost_runs` request it, as the command's own run may not be.
    assert is_of_command(parent)
    assert not is_of_command(run)
    assert run.tags[MAX_RETRIES_TAG] == str(instance.run_retries_max_retries)


@pytest.fixture
def running(path: Path, services: Services) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts a command in a process group of its own, as a shell does, until its job runs."""
    started = []

    def start() -> subprocess.Popen[str]:
        home, weeks = Home(path, others=WIDENED), ("--from", BAD.key, "--to", WEEK.key)
        command = subprocess.Popen(
            home.command("backfill", *weeks), env=home.environment, stderr=subprocess.PIPE, text=True, process_group=0
        )
        started.append(command)
        return command

    yield start
    for command in started:
        command.kill()
        command.communicate()


def _until_a_job_runs(path: Path, services: Services) -> Path:
    """Wait until a job's program runs and return the job's folder."""

    def running() -> list[Path]:
        folders = (path / "sagemaker" / "jobs" / "processing").glob("features-*")
        states = {folder: json.loads((folder / "state.json").read_text()) for folder in folders}
        return [folder for folder, state in states.items() if state["status"] == "InProgress" and "started" in state]

    services.until(running, 400, "the features' job runs")
    (folder,) = running()
    return folder


def _status(job: Path) -> str:
    return str(json.loads((job / "state.json").read_text())["status"])


def _assert_cancelled(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    assert run.status == CANCELED
    kinds = {event.event_type for event in _events(instance, run)}
    assert not kinds & {dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.RUN_FAILURE}


@pytest.mark.long
def test_ctrl_c_cancels_the_run_and_stops_its_job(
    path: Path, instance: dg.DagsterInstance, services: Services, running: Callable[[], subprocess.Popen[str]]
) -> None:
    command = running()
    job = _until_a_job_runs(path, services)
    os.killpg(command.pid, signal.SIGINT)
    _, said = command.communicate(timeout=200)
    run = _latest(instance, "feature_weeks")
    assert command.returncode == 130
    assert said.splitlines()[-1] == (
        f"Cancelled: run {run.run_id} of feature_weeks, weeks {BAD} to {WEEK}; "
        "the same command resumes, finished jobs are reused"
    )
    _assert_cancelled(instance, run)
    assert _status(job) == "Stopped"


@pytest.mark.long
def test_terminate_cancels_a_run_of_the_daemon_and_stops_its_job(
    path: Path, instance: dg.DagsterInstance, services: Services
) -> None:
    run_id = services.reexecute(_latest(instance, "feature_weeks").run_id)
    job = _until_a_job_runs(path, services)
    services.terminate(run_id)
    _assert_cancelled(instance, _ended(instance, services, run_id))
    assert _status(job) == "Stopped"


@pytest.mark.long
def test_terminate_cancels_a_run_of_a_command_and_stops_its_job(
    path: Path, instance: dg.DagsterInstance, services: Services, running: Callable[[], subprocess.Popen[str]]
) -> None:
    command = running()
    job = _until_a_job_runs(path, services)
    run = _latest(instance, "feature_weeks")
    services.terminate(run.run_id)
    _assert_cancelled(instance, _ended(instance, services, run.run_id))
    assert command.wait(60) == 130
    assert _status(job) == "Stopped"
