"""Tests that runs with a lost process are detected, with real processes and signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from m5_assets.automation.run_launcher import (
    BEGUN_TAG,
    COMMAND_TAG,
    LocalRunLauncher,
    boot_time,
    command_tag,
    fail_lost_runs,
    is_alive,
    is_of_command,
)
from m5_assets.dagster_internals import GRPC_INFO_TAG, LaunchRunContext, WorkerStatus
from m5_assets_tests.support.dagster_internals import EngineEventData


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    launcher = {"run_launcher": {"module": "m5_assets.automation.run_launcher", "class": "LocalRunLauncher"}}
    with dg.instance_for_test(overrides=launcher) as found:
        yield found


def _started(instance: dg.DagsterInstance, pid: int, tags: dict[str, str] | None = None) -> dg.DagsterRun:
    """Return a run that this process executes; with `tags`, one that is executed elsewhere."""
    job, run_id = dg.GraphDefinition(name="weekly_forecast").to_job(), str(uuid.uuid4())
    tags = {COMMAND_TAG: command_tag(run_id)} if tags is None else tags
    run = instance.create_run_for_job(job, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
    return run


def _health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> WorkerStatus:
    assert isinstance(instance.run_launcher, LocalRunLauncher)
    return instance.run_launcher.check_run_worker_health(run).status


LOCAL = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": "/tmp/x"})}  # noqa: S108  # never opened


@pytest.mark.parametrize("tags", [LOCAL, None])
def test_a_killed_process_is_detected(
    instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes], tags: dict[str, str] | None
) -> None:
    run = _started(instance, sleeper.pid, tags)
    assert _health(instance, run) == WorkerStatus.RUNNING
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # a zombie that no one has reaped
    assert _health(instance, run) == WorkerStatus.FAILED
    sleeper.wait()
    assert _health(instance, run) == WorkerStatus.FAILED


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {COMMAND_TAG: command_tag("of-the-run-that-this-one-retries")},
        {GRPC_INFO_TAG: '{"host": "code-server", "port": 4000}'},
    ],
)
def test_a_run_on_another_machine_is_left_alone(instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    run = _started(instance, 2**22, tags)
    assert _health(instance, run) == WorkerStatus.RUNNING
    assert not is_of_command(run)


def test_a_reused_process_id_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    assert is_alive(sleeper.pid, boot_time())
    assert not is_alive(sleeper.pid, boot_time(-3600))  # it began after the process that was recorded
    assert not is_alive(sleeper.pid, f"another-boot {boot_time().split()[1]}")
    assert not is_alive(2**22, boot_time())
    assert is_alive(sleeper.pid, "")  # a run that an earlier version started


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_step_of_the_clock_loses_no_run(
    instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    tags = LOCAL | {BEGUN_TAG: boot_time()}
    with monkeypatch.context() as stepped:  # the run is recorded by a clock that is corrected afterwards
        real = time.time
        stepped.setattr("time.time", lambda: real() + step)
        run = _started(instance, sleeper.pid, tags)
    (record,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    assert abs(record.timestamp - time.time() - step) < 60
    assert _health(instance, run) == WorkerStatus.RUNNING
    fail_lost_runs(instance)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]


def test_the_launcher_records_when_the_process_had_begun(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _started(instance, os.getpid(), {BEGUN_TAG: "of-the-run-that-this-one-retries 1.0"})
    at_launch = []

    def launch(_: object, context: LaunchRunContext) -> None:
        found = instance.get_run_by_id(context.dagster_run.run_id)
        assert found is not None
        at_launch.append(found.tags[BEGUN_TAG])

    monkeypatch.setattr(dg.DefaultRunLauncher, "launch_run", launch)
    before = boot_time()
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    boot, seconds = found.tags[BEGUN_TAG].split()
    assert [boot, boot] == [before.split()[0], at_launch[0].split()[0]]
    assert float(before.split()[1]) <= float(seconds) < float(at_launch[0].split()[1])


def test_without_a_daemon_a_killed_run_is_failed_and_its_pool_slot_is_freed(
    instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes]
) -> None:
    """Otherwise the next run would wait for the slot forever, and the week would count as under way."""
    killed, other = _started(instance, 2**22), _started(instance, sleeper.pid)
    pool = instance.event_log_storage
    pool.set_concurrency_slots("heavy", 1)
    assert pool.claim_concurrency_slot("heavy", killed.run_id, "features").is_claimed
    fail_lost_runs(instance)
    statuses = [instance.get_run_by_id(run.run_id).status for run in (killed, other)]  # type: ignore[union-attr]
    assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED]
    assert pool.claim_concurrency_slot("heavy", other.run_id, "features").is_claimed


def test_dagster_yaml_selects_the_launcher() -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())
    assert config["run_launcher"] == {"module": "m5_assets.automation.run_launcher", "class": "LocalRunLauncher"}
    with dg.instance_for_test(overrides=config) as found:
        assert found.run_monitoring_enabled
        assert found.run_launcher.supports_check_run_worker_health
