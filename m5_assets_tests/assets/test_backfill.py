"""Tests that `m5 backfill` resumes after being killed: real processes, real jobs, an external database."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.load import loaded_weeks, read_forecast
from m5_assets.resources.postgres.schema import forecast
from m5_assets.sample import write_sample
from m5_assets.weeks import Week
from m5_assets_tests.support.home import HISTORY_WEEKS, Home

pytestmark = pytest.mark.long
FIRST, LAST = Week.parse("2016-04-11"), Week.parse("2016-04-18")
BACKFILL = ("backfill", "--from", FIRST.key, "--to", LAST.key)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    write_sample(tmp_path / "landing", items=7, weeks=HISTORY_WEEKS + 5, seed=4)
    server = EmbeddedServer(tmp_path / "elsewhere")
    yield Home(tmp_path, server.ensure_running().render_as_string(hide_password=False))
    server.stop()


def _jobs(home: Home) -> list[str]:
    return sorted(path.name for path in (home.path / "sagemaker" / "jobs").glob("*/*"))


def _kill_in_training(home: Home) -> None:
    """Start the backfill, and kill it and its steps once the first training runs; the job itself continues."""
    log = (home.path / "killed.log").open("w")
    process = subprocess.Popen(home.command(*BACKFILL), env=home.environment, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 300
    while not any(name.startswith("lstm-model") for name in _jobs(home)):
        assert process.poll() is None, (home.path / "killed.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_backfill_resumes_without_running_a_job_twice(home: Home) -> None:
    _kill_in_training(home)
    begun = _jobs(home)
    assert home.m5(*BACKFILL).returncode == 0
    jobs = _jobs(home)
    assert set(begun) <= set(jobs)
    assert all(name.endswith("-a1") for name in jobs)  # nothing needed a second attempt
    kinds = [name.split("-2016")[0] for name in jobs]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "features": 1,  # one job for both weeks
        **dict.fromkeys(("gbm-model", "lstm-model", "totals-model"), 1),  # carried forward to the second week
        **dict.fromkeys(("gbm-predictions", "lstm-predictions", "totals-forecast"), 2),
    }
    engine = PostgresResource(url=home.database_url, home=str(home.path)).engine()
    assert loaded_weeks(engine, forecast) == {FIRST.first_day, LAST.first_day}
    assert [read_forecast(engine, week.first_day).num_rows for week in (FIRST, LAST)] == [7 * 10 * 28] * 2
    assert not (home.path / "postgres").exists()  # every process used the external database
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name="weekly_forecast"))
    found = [(run.tags["dagster/partition"], run.status.value) for run in reversed(runs)]
    assert found == [(FIRST.key, "FAILURE"), (FIRST.key, "SUCCESS"), (LAST.key, "SUCCESS")]
    assert "2 weeks requested, 0 forecast" in home.m5(*BACKFILL).stderr
    assert _jobs(home) == jobs
