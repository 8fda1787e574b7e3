"""Dagster's default run launcher plus a health check, so that runs whose process died are noticed.

A code server notices when a run it started dies. If the server dies too (power cut, killed container, kill -9 of
everything), the run would stay "started" forever and block the queue. With this launcher, run monitoring fails such a
run and `run_retries` resumes it. dagster.yaml selects it.
"""

import json
import os
from pathlib import Path

import dagster as dg

from m5_assets.automation.run_statuses import IN_PROGRESS
from m5_assets.dagster_internals import GRPC_INFO_TAG, CheckRunHealthResult, WorkerStatus

HOST_TAG = "m5/host"
"""The host name of a run that the command line executes itself."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SLACK_SECONDS = 2.0


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Starts runs as processes of the code server on this machine and checks their health."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may check a run's process."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the run's process is alive; on another machine, or before it started, it counts as running."""
        process = _process(self._instance, run)
        if process is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "not a process of this machine")
        pid, since = process
        if is_alive(pid, since):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"the run's process {pid} is gone")


def fail_lost_runs(instance: dg.DagsterInstance) -> None:
    """Fail the runs of this machine whose process is gone, and free their pool slots.

    Does what run monitoring does, for commands used without a daemon. Otherwise a killed run holds its pool slots
    forever.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        process = _process(instance, run)
        if process is not None and not is_alive(*process):
            instance.report_run_failed(run, f"the run's process {process[0]} is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[int, float] | None:
    """Return the run's process id and when it was recorded, if the process is on this machine."""
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
    """Return whether the process that had this id at a time is still running; ids are reused after a while.

    Args:
        pid: the process id.
        since: a time, in seconds since 1970, at which the process ran.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # another user's: the id was reused
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # it just ended, or the system has no /proc
    state, ticks = fields[0], int(fields[19])
    began = int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return state != "Z" and began <= since + _SLACK_SECONDS
