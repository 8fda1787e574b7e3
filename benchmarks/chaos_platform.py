"""The small platform of the chaos test: its home, its services, and one week that is built again and again.

Its home is a disk of its own, in memory, so that it can be filled and can lose its power. Needs Linux and root.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pyarrow.fs as pafs
import yaml
from chaos_disk import Disk
from sqlalchemy import text

from m5_assets.dagster_internals import PARTITION_NAME_TAG, WILL_RETRY_TAG
from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource, schema
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.roles import WRITER
from m5_assets.weeks import Week

WEEK = Week.parse("2016-04-25")
TRIAL_TAG = "chaos/trial"
_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).parents[1]
_MEGABYTES = 1024
_SETTINGS = {
    "M5_LAST_WEEK": "2016-05-16",
    "M5_HISTORY_WEEKS": "56",
    "M5_CADENCE_WEEKS": "1",  # every week trains, so that faults hit training too
    "M5_GBM_HYPERPARAMETERS": '{"iterations": "1", "department_iterations": "1"}',
    "M5_TOTALS_HYPERPARAMETERS": '{"trees_iterations": "1", "stack_iterations": "1"}',
    "M5_LSTM_HYPERPARAMETERS": '{"windows": "256", "batch_size": "128", "hidden": "8", "encoder_days": "28"}',
    "OMP_NUM_THREADS": "1",
}
_RUN_MONITORING = {"poll_interval_seconds": 5, "free_slots_after_run_end_seconds": 5}
_ANSWER = "{ __typename ... on Error { message } }"
_LAUNCH = f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {_ANSWER} }}"
_REEXECUTE = f"mutation($p: ReexecutionParams!) {{ launchRunReexecution(reexecutionParams: $p) {_ANSWER} }}"
_RELOAD = "mutation { reloadWorkspace { __typename } }"
_START_SECONDS = 300.0
_RETRY_SECONDS = 180.0
_SETTLE_SECONDS = 10.0

Rows = dict[str, "Counter[str]"]
State = Literal["running", "waiting", "done", "failed"]


class Platform:
    """A platform home with its services.

    Args:
        home: folder to create; its disk is mounted there.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.services: dict[str, subprocess.Popen[bytes]] = {}
        self.trial = ""
        self._failed: tuple[str, float] | None = None
        self._port = _free_port()
        self.disk = Disk(home, _MEGABYTES)

    def prepare(self) -> None:
        """Generate a sample and build the week, with all its dependencies, on the command line."""
        dagster = self.home / "dagster"
        dagster.mkdir()
        config = yaml.safe_load((_ROOT / "dagster.yaml").read_text())
        config["run_monitoring"] |= _RUN_MONITORING
        (dagster / "dagster.yaml").write_text(yaml.safe_dump(config))
        self._call("m5", "sample", str(self.home / "landing"), "--items", "8", "--weeks", "57", "--seed", "3")
        self._call("m5", "forecast", "--week", WEEK.key)
        os.sync()  # what a trial begins with has been there for long

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the platform's processes, without this process's own platform settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("M5_", "DAGSTER_", "AWS_"))}
        return kept | _SETTINGS | {"M5_HOME": str(self.home), "DAGSTER_HOME": str(self.home / "dagster")}

    @property
    def workspace(self) -> Path:
        """The workspace file."""
        return _ROOT / "workspace.yaml"

    @cached_property
    def lake(self) -> Lake:
        """The home's lake."""
        return Lake(root=str(self.home / "lake"))

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """The home's Dagster instance."""
        return dg.DagsterInstance.from_config(str(self.home / "dagster"))

    def _call(self, *command: str) -> None:
        with (self.home / "calls.log").open("ab") as log:
            subprocess.run(
                [str(_BIN / command[0]), *command[1:]],
                env=Platform.environment.__get__(self),
                cwd=_ROOT,
                stdout=log,
                stderr=log,
                check=True,
            )

    def start(self, name: str) -> None:
        """Start a service in its own process group, as a service manager would."""
        command = {
            "daemon": ["dagster-daemon", "run", "-w", str(self.workspace)],
            "webserver": ["m5", "webserver", "--workspace", str(self.workspace), "--port", str(self._port)],
        }[name]
        with (self.home / f"{name}.log").open("ab") as log:
            self.services[name] = subprocess.Popen(
                [str(_BIN / command[0]), *command[1:]],
                env=self.environment,
                cwd=_ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def tend(self) -> None:
        """Restart services that have ended, as a service manager does."""
        for name, service in list(self.services.items()):
            if service.poll() is not None:
                kill_group(service)
                self.start(name)

    def launch(self, trial: str) -> None:
        """Launch the week through the webserver."""
        self.trial = trial
        tags = {PARTITION_NAME_TAG: WEEK.key, TRIAL_TAG: trial}
        selector = {"repositoryLocationName": "m5_assets", "repositoryName": "__repository__"}
        params = {
            "selector": {**selector, "jobName": "weekly_forecast"},
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        self._launch(_LAUNCH, params)

    def reexecute(self) -> None:
        """Re-execute the week's last run from where it failed, as a person would in the UI."""
        params = {"parentRunId": self.runs()[0].run_id, "strategy": "FROM_FAILURE"}
        self._launch(_REEXECUTE, params)

    def _launch(self, mutation: str, params: dict[str, Any]) -> None:
        before, said = len(self.runs()), ""
        deadline = time.monotonic() + _START_SECONDS
        while len(self.runs()) == before:  # retried only while no run was created
            if time.monotonic() > deadline:
                raise SystemExit(f"the webserver does not launch the week: {said}")
            self.tend()
            try:
                said = self._query(mutation, {"p": params})
                if "PipelineNotFoundError" in said:
                    # Its code server could not start while the disk was full, and it tries only once.
                    self._query(_RELOAD, {})
            except OSError as problem:  # it is starting
                said = str(problem)
                time.sleep(1.0)

    def _query(self, text: str, variables: dict[str, Any]) -> str:
        body = json.dumps({"query": text, "variables": variables}).encode()
        url = f"http://127.0.0.1:{self._port}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # our own server
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  # our own server
            said: str = answer.read().decode()
        return said

    def runs(self) -> list[dg.DagsterRun]:
        """Return the trial's runs, latest first."""
        return list(self.instance.get_runs(dg.RunsFilter(tags={TRIAL_TAG: self.trial})))

    def steps_done(self) -> int:
        """Return how many steps have succeeded, over all runs of the trial."""
        storage = self.instance.event_log_storage
        return sum(storage.get_stats_for_run(run.run_id).steps_succeeded for run in self.runs())

    def state(self) -> State:
        """Return the state of the week: its latest run is running, waiting, done, or has failed for good."""
        self.tend()
        latest = self.runs()[0]
        if latest.status == dg.DagsterRunStatus.SUCCESS:
            return "done"
        if not latest.is_finished:
            return "running" if latest.status == dg.DagsterRunStatus.STARTED else "waiting"
        if self._failed is None or self._failed[0] != latest.run_id:
            self._failed = latest.run_id, time.monotonic()
        # Dagster retries a lost run; if it does not, the sensor `lost_runs` does within a minute or two.
        lost = self.instance.get_run_stats(latest.run_id).steps_failed == 0
        patience = _RETRY_SECONDS if latest.tags.get(WILL_RETRY_TAG) == "true" or lost else _SETTLE_SECONDS
        return "failed" if time.monotonic() - self._failed[1] > patience else "waiting"

    def wait(self, limit: float, steps: int = 10**6) -> State:
        """Wait until the week is built or has failed, or until its run is running and `steps` steps are done."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            state = self.state()
            if state in ("done", "failed") or (state == "running" and self.steps_done() >= steps):
                return state
            time.sleep(1.0)
        return "failed"

    def jobs(self) -> list[tuple[str, str]]:
        """Return the name and status of all jobs of the week ever started."""
        found = (self.home / "sagemaker" / "jobs").glob(f"*/*-{WEEK.key}-*/state.json")
        return sorted((path.parent.name, json.loads(path.read_text())["status"]) for path in found)

    def rows(self) -> Rows:
        """Return every row of every table, except for the log of loads."""
        engine = PostgresResource(home=str(self.home)).engine()
        found: Rows = {}
        connection = engine.raw_connection()
        try:
            for table in schema.metadata.sorted_tables:
                if table.name != schema.load_log.name:
                    sink = io.StringIO()
                    connection.cursor().copy_expert(f"COPY (SELECT * FROM {table}) TO STDOUT", sink)  # noqa: S608  # our own names
                    found[table.name] = Counter(sink.getvalue().splitlines())
        finally:
            connection.close()
        return found

    def digests(self) -> dict[str, str]:
        """Return the digest of each dataset of the lake, for the week or else for all weeks."""
        selector = pafs.FileSelector(self.lake.path(""))
        datasets = [i.base_name for i in self.lake.filesystem.get_file_info(selector) if not i.is_file]
        found = {name: self.lake.find(name, WEEK.key) or self.lake.find(name) for name in datasets}
        return {name: manifest.digest for name, manifest in sorted(found.items()) if manifest is not None}

    def clear_week(self) -> None:
        """Remove everything of the week except Dagster's records, so that it can be rebuilt from scratch."""
        for folder in ("sagemaker/jobs", "sagemaker/pipes"):
            for path in (self.home / folder).glob(f"**/*-{WEEK.key}-*"):
                shutil.rmtree(path, ignore_errors=True)
        self._clear_lake()
        day, last = WEEK.first_day, WEEK.origin
        with PostgresResource(home=str(self.home)).engine(WRITER).begin() as connection:
            for table in schema.metadata.sorted_tables:
                column = {"store_dept_sales": "date"}.get(table.name, "week")
                if column in table.columns:
                    condition = f"{column} BETWEEN '{day}' AND '{last}'"
                    connection.execute(text(f"DELETE FROM {table} WHERE {condition}"))  # noqa: S608  # our own names
        os.sync()

    def _clear_lake(self) -> None:
        for path in Path(self.lake.root).glob(f"*/week={WEEK.key}"):
            shutil.rmtree(path)

    def processes(self, words: str = "") -> list[int]:
        """Return this platform's processes whose command line contains `words`."""
        home, found = str(self.home).encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                if words not in command.replace(b"\0", b" ").decode(errors="replace"):
                    continue
                if int(folder.name) != os.getpid() and home in command + (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        """Stop everything that belongs to this home, and remove it."""
        for service in self.services.values():
            kill_group(service)
        for pid in self.processes():
            kill(pid)
        if "instance" in self.__dict__:
            self.instance.dispose()
        with contextlib.suppress(Exception):
            EmbeddedServer(self.home).stop()
        self.disk.close()


def differences(needed: Rows, found: Rows) -> tuple[int, int]:
    """Return the numbers of missing and of superfluous rows."""
    lost = sum((rows - found.get(name, Counter())).total() for name, rows in needed.items())
    extra = sum((rows - needed.get(name, Counter())).total() for name, rows in found.items())
    return lost, extra


def timeline(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[Sequence[float], Sequence[tuple[float, float]]]:
    """Return when a run's steps ended, and start and end of those that run jobs, in seconds since the run's start."""
    begin = instance.get_run_stats(run.run_id).start_time or 0.0
    steps = instance.get_run_step_stats(run.run_id)
    spans = {s.step_key: ((s.start_time or 0.0) - begin, (s.end_time or 0.0) - begin) for s in steps}
    with_job = [span for key, span in spans.items() if key == "features" or key.endswith(("_model", "_predictions"))]
    return sorted(end for _, end in spans.values()), [*with_job, spans["totals_forecast"]]


def kill(pid: int) -> None:
    """Send SIGKILL to a process, if it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_group(service: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to a service and all processes of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
