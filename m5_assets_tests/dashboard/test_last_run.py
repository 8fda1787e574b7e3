"""Reading the state of Dagster's last run."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path

import dagster as dg

from m5_assets.dashboard.last_run import LastRun, last_run_of, patient


def test_without_a_dagster_instance_the_last_run_is_unknown(tmp_path: Path) -> None:
    assert last_run_of(tmp_path)() is None
    assert list(tmp_path.iterdir()) == []


def test_the_last_run_is_read_from_dagsters_storage(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        asset = dg.asset(name="forecast")(lambda: None)
        ended = dg.materialize([asset], instance=instance, tags={"dagster/partition": "2016-05-16"})
    read, deadline = last_run_of(tmp_path), time.monotonic() + 30
    while (found := read()) is None and time.monotonic() < deadline:
        pass  # each call waits a third of a second
    assert found is not None
    assert (found.week, found.state, found.failed) == ("2016-05-16", "success", False)
    assert ended.success


def test_a_failing_dagster_storage_breaks_no_page(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storage:\n  no_such_storage: {}\n")
    assert last_run_of(tmp_path)() is None


def test_a_slow_dagster_storage_holds_up_no_page() -> None:
    run = LastRun("weekly_forecast", None, "started", dt.datetime(2016, 5, 23, tzinfo=dt.UTC))
    answers = threading.Event()
    latest = patient(lambda: run if answers.wait(30) else None, 0.01)
    assert latest() is None
    answers.set()
    deadline = time.monotonic() + 30
    while latest() is None and time.monotonic() < deadline:
        pass  # the pending read finishes in the background
    assert latest() == run
