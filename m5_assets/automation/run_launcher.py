"""Dagster's default launcher, which starts runs as processes, and what it lacks: noticing that such a process is lost.

A code server that lives on notices the death of the runs that it started. Where the server died with them (a power cut,
a killed container, kill -9 of everything), a run would stay "started" for ever and hold the queue. With this launcher
run monitoring fails it, and `run_retries` makes the rest of it. In force through dagster.yaml.
"""

import json
import os
from pathlib import Path

import dagster as dg

from m5_assets.automation.run_statuses import IN_PROGRESS
from m5_assets.dagster_internals import GRPC_INFO_TAG, CheckRunHealthResult, WorkerStatus

HOST_TAG = "m5/host"
"""The machine of a run that the command line executes itself."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SLACK_SECONDS = 2.0


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Starts runs as processes of the code server on this machine, and looks after them."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask for a run's process."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether the run's process lives; one of another machine, or not seen to start, counts as running."""
        process = _process(self._instance, run)
        if process is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "not a process of this machine")
        pid, since = process
        if is_alive(pid, since):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"the run's process {pid} is gone")


def fail_lost_runs(instance: dg.DagsterInstance) -> None:
    """Fail the runs of this machine whose process is gone, and free their places in the pools.

    What the daemon's run monitoring does, for whoever works without a daemon: a place that a killed run holds would be
    waited for for ever.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        process = _process(instance, run)
        if process is not None and not is_alive(*process):
            instance.report_run_failed(run, f"the run's process {process[0]} is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float] | None:
    """Return the number of the run's process and when it was noted, if it is one of this machine."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    here = "socket" in server or server.get("host") in _LOOPBACK or run.tags.get(HOST_TAG) == os.uname().nodename
    if not here:
        return None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event and entry.step_key is None else None
        if isinstance(pid, dg.TextMetadataValue) and pid.text:
            return int(pid.text), entry.timestamp
    return None


def is_alive(pid: int, since: float) -> bool:
    """Say whether the process that had this number at a time still runs; numbers are given again after a while.

    Args:
        pid: the process's number.
        since: a time, in seconds since 1970, at which it ran.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # of another user: not ours
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # gone between two lines, or a system without /proc
    state, ticks = fields[0], int(fields[19])
    began = int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return state != "Z" and began <= since + _SLACK_SECONDS
