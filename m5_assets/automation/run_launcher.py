"""Dagster's default run launcher plus a health check, so that runs whose process died are noticed.

A code server notices when a run it started dies. If the server dies too (power cut, killed container, kill -9 of
everything), the run would stay "started" forever and block the queue. With this launcher, run monitoring fails such a
run and `run_retries` resumes it. dagster.yaml selects it.
"""

import json
import os
import time
from pathlib import Path

import dagster as dg

from m5_assets.automation.run_statuses import IN_PROGRESS
from m5_assets.dagster_internals import GRPC_INFO_TAG, CheckRunHealthResult, LaunchRunContext, WorkerStatus

COMMAND_TAG = "m5/command"
"""The host whose command line executes the run itself, and the run's id, see `command_tag`."""
BEGUN_TAG = "m5/begun"
"""The boot of the machine and the seconds since then at which a run's process had begun, see `boot_time`."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SLACK_SECONDS = 2.0
_LAUNCH_SECONDS = 60.0
"""The code server is given this long to start a run's process."""


class LocalRunLauncher(dg.DefaultRunLauncher):
    """Starts runs as processes of the code server on this machine and checks their health."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may check a run's process."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's process, and record when it had begun."""
        run_id = context.dagster_run.run_id
        # Before as well, in case this process is killed in between, and over the value that a retry has of its parent.
        self._instance.add_run_tags(run_id, {BEGUN_TAG: boot_time(_LAUNCH_SECONDS)})
        super().launch_run(context)
        self._instance.add_run_tags(run_id, {BEGUN_TAG: boot_time()})

    def terminate(self, run_id: str) -> bool:
        """Cancel a run: by its code server or, if a command executes it, by its status, which the command watches."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not is_of_command(run):
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]  # Dagster's
        self._instance.report_run_canceling(run)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the run's process is alive; on another machine, or before it started, it counts as running."""
        pid = _process(self._instance, run)
        if pid is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "not a process of this machine")
        if is_alive(pid, run.tags.get(BEGUN_TAG, "")):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"the run's process {pid} is gone")


def fail_lost_runs(instance: dg.DagsterInstance) -> None:
    """Fail the runs of this machine whose process is gone, and free their pool slots.

    Does what run monitoring does, for commands used without a daemon. Otherwise a killed run holds its pool slots
    forever.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        pid = _process(instance, run)
        if pid is not None and not is_alive(pid, run.tags.get(BEGUN_TAG, "")):
            instance.report_run_failed(run, f"the run's process {pid} is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def command_tag(run_id: str) -> str:
    """Return the value of `COMMAND_TAG` for a run that this machine's command line executes.

    It holds the run's id, because re-executions inherit the tags of the run and are not executed by the command.
    """
    return f"{os.uname().nodename} {run_id}"


def is_of_command(run: dg.DagsterRun) -> bool:
    """Return whether a command line executes the run, on this machine or another."""
    return run.tags.get(COMMAND_TAG, "").endswith(f" {run.run_id}")


def _process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """Return the run's process id, if the process is on this machine."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    here = "socket" in server or server.get("host") in _LOOPBACK or run.tags.get(COMMAND_TAG) == command_tag(run.run_id)
    if not here:
        return None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event and entry.step_key is None else None
        if isinstance(pid, dg.TextMetadataValue) and pid.text:
            return int(pid.text)
    return None


def boot_time(later: float = 0.0) -> str:
    """Return this boot of the machine and the seconds since then, which no step of the system's clock changes.

    Args:
        later: seconds to add.

    Returns:
        Text such as `3f6a…-b8c2 86400.0`; empty on systems without Linux's /proc.
    """
    if not _BOOT_ID.exists():
        return ""
    return f"{_BOOT_ID.read_text().strip()} {time.clock_gettime(time.CLOCK_BOOTTIME) + later:.1f}"


def is_alive(pid: int, begun: str) -> bool:
    """Return whether the process that had this id at a time is still running; ids are reused after a while.

    Args:
        pid: the process id.
        begun: a time at which the process ran, as `boot_time` gives it; empty if unknown.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # another user's: the id was reused
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return not Path("/proc/self").exists()  # it just ended, or the system has no /proc
    state, ticks = fields[0], int(fields[19])
    if state == "Z":
        return False
    boot, _, seconds = begun.partition(" ")
    if not boot:
        return True
    same_boot = boot == _BOOT_ID.read_text().strip()
    return same_boot and ticks / os.sysconf("SC_CLK_TCK") <= float(seconds) + _SLACK_SECONDS
