"""Run a platform's webserver and daemon as a service manager would, and send the GraphQL requests of Dagster's UI."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m5_assets.weeks import Week

_ROOT = Path(__file__).parents[2]
_LOCATION = {"repositoryLocationName": "m5_assets", "repositoryName": "__repository__"}
_BACKFILL = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message } }
}"""
_LAUNCHED = "__typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }"
_REEXECUTE = f"mutation($p: ReexecutionParams!) {{ launchRunReexecution(reexecutionParams: $p) {{ {_LAUNCHED} }} }}"
_LAUNCH = f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {_LAUNCHED} }} }}"
_TERMINATE = """
mutation($run: String!) { terminateRun(runId: $run) { __typename ... on Error { message }
    ... on TerminateRunFailure { message } } }"""
_RUNS_OF_JOB = """
query($s: PipelineSelector!) {
  pipelineOrError(params: $s) { __typename ... on Pipeline { runs(limit: 9) { runId } } } }"""
_TIMELINE = """
query($f: RunsFilter!) { runsOrError(filter: $f, limit: 99) { __typename ... on Runs {
    results { runId pipelineName repositoryOrigin { repositoryName repositoryLocationName } } } } }"""
_START_SCHEDULE = """
mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename ... on Error { message } } }"""


class Services:
    """The services of one home.

    Args:
        home: folder for their logs.
        environment: environment of their processes, including `DAGSTER_HOME`.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home, self._environment = home, dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]

    def start(self, name: str) -> None:
        """Start `webserver` or `daemon` in its own process group."""
        command = {"webserver": ["m5", "webserver", "--port", str(self._port)], "daemon": ["dagster-daemon", "run"]}[
            name
        ]
        program = str(Path(sys.executable).with_name(command[0]))
        with (self._home / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [program, *command[1:], "--workspace", str(_ROOT / "workspace.yaml")],
                env=self._environment,
                cwd=_ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill a service and its whole process group."""
        service = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.pid, signal.SIGKILL)
        service.wait()

    def close(self) -> None:
        """Kill all running services."""
        for name in list(self._running):
            self.kill(name)

    def until(self, holds: Callable[[], Any], seconds: float, what: str) -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: if it does not hold in time or a service ended; the message has the end of the logs.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            ended = [name for name, service in self._running.items() if service.poll() is not None]
            assert not ended, f"{ended} ended\n{self._logs()}"
            assert time.monotonic() < deadline, f"timed out after {seconds:.0f} s: {what}\n{self._logs()}"
            time.sleep(0.5)

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._home.glob("*.log"))

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False

    def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for the webserver, send a GraphQL request, and return the single field of its response."""
        self.until(self._answers, 120, "the webserver responds")
        body = json.dumps({"query": query, "variables": variables}).encode()
        address = f"http://127.0.0.1:{self._port}/graphql"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  # our own
            (field,) = json.load(answer)["data"].values()
        found: dict[str, Any] = field
        return found

    def backfill(self, assets: Sequence[str], weeks: Sequence[Week]) -> str:
        """Launch a backfill of these assets and weeks as the asset graph does, and return its id."""
        keys = [{"path": name.split("/")} for name in assets]
        said = self.ask(_BACKFILL, {"p": {"assetSelection": keys, "partitionNames": [week.key for week in weeks]}})
        assert said["__typename"] == "LaunchBackfillSuccess", said
        return str(said["backfillId"])

    def turn_on(self, schedule: str) -> None:
        """Turn a schedule on as its page does."""
        said = self.ask(_START_SCHEDULE, {"s": {**_LOCATION, "scheduleName": schedule}})
        assert said["__typename"] == "ScheduleStateResult", said

    def reexecute(self, run_id: str) -> str:
        """Re-execute a run from failure as its page does, and return the new run's id."""
        said = self.ask(_REEXECUTE, {"p": {"parentRunId": run_id, "strategy": "FROM_FAILURE"}})
        assert said["__typename"] == "LaunchRunSuccess", said
        return str(said["run"]["runId"])

    def execute_check(self, asset: str, check: str, week: Week) -> str:
        """Execute one check of a week as the asset's Checks tab does, and return the run's id."""
        handle = {"assetKey": {"path": asset.split("/")}, "name": check}
        selector = {**_LOCATION, "pipelineName": "__ASSET_JOB", "assetSelection": [], "assetCheckSelection": [handle]}
        tags = [{"key": "dagster/partition", "value": week.key}]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}, "runConfigData": {}}
        said = self.ask(_LAUNCH, {"p": params})
        assert said["__typename"] == "LaunchRunSuccess", said
        return str(said["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """Terminate a run as its page does."""
        said = self.ask(_TERMINATE, {"run": run_id})
        assert said["__typename"] == "TerminateRunSuccess", said

    def runs_of(self, job: str) -> list[str]:
        """Return the ids of the runs on a job's page, latest first."""
        said = self.ask(_RUNS_OF_JOB, {"s": {**_LOCATION, "pipelineName": job}})
        return [run["runId"] for run in said["runs"]]

    def timeline(self, status: str) -> list[tuple[str, str]]:
        """Return job and id of the runs of our code location on the home page's timeline."""
        found = self.ask(_TIMELINE, {"f": {"statuses": [status]}})["results"]
        ours = [run for run in found if run["repositoryOrigin"] == _LOCATION]
        return [(run["pipelineName"], run["runId"]) for run in ours]
