"""The faults of the chaos test: functions that inject a fault into a platform and return a description of it.

Killed services are restarted, as a service manager would do; otherwise nothing is done to help the week.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dagster as dg
from chaos_platform import Platform, kill, kill_group

_FULL_SECONDS, _LONG_SECONDS = 10.0, 75.0
"""The longer time lasts until the daemon has reloaded the code location, or tried to, as it does every minute."""
_JOB_SECONDS = 20.0
_CHUNK = 1 << 20


def kill_service(name: str) -> Callable[[Platform], str]:
    """Return the fault that kills a service with its code servers; runs that it started may survive or die with it."""

    def strike(platform: Platform) -> str:
        kill_group(platform.services[name])
        platform.start(name)
        return f"{name} killed"

    return strike


def kill_run_worker(platform: Platform) -> str:
    """Kill the run worker; its steps' processes notice."""
    run = platform.runs()[0]
    for entry in platform.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if isinstance(pid, dg.TextMetadataValue) and pid.text and entry.step_key is None:
            kill(int(pid.text))
            return "run worker killed"
    return ""


def kill_job(platform: Platform) -> str:
    """Kill a job's program; if none is running, wait for the next one."""
    deadline = time.monotonic() + _JOB_SECONDS
    while time.monotonic() < deadline:
        if found := platform.processes(" -m m5_assets.containers."):
            pid = random.choice(found)  # noqa: S311  # no secret
            program = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[2:4]
            kill(pid)
            return f"{' '.join(program).removeprefix('m5_assets.containers.')} killed"
        time.sleep(0.1)
    return ""


def kill_postgres(platform: Platform) -> str:
    """Kill PostgreSQL's postmaster, with which its other processes exit."""
    kill(int((platform.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))
    return "postgres killed"


def cut_power(platform: Platform) -> str:
    """Stop the disk, so that what was not synced is lost; end all processes, and start again as after a reboot."""
    platform.disk.cut_power()
    found = platform.processes()
    for pid in found:
        kill(pid)
    for service in platform.services.values():
        kill_group(service)
    platform.disk.restore_power()
    for name in list(platform.services):
        platform.start(name)
    return f"power cut, with {len(found)} processes"


def fill_disk(seconds: float, platform: Platform) -> str:
    """Fill the file system of the platform's home, which holds lake, database, jobs and Dagster's storage."""
    filling = platform.home / "filling"
    deadline = time.monotonic() + seconds
    with filling.open("wb", buffering=0) as file:
        while time.monotonic() < deadline:  # also fill space that others free
            found = os.statvfs(platform.home)
            with contextlib.suppress(OSError):  # another process took the space first
                os.posix_fallocate(
                    file.fileno(), os.fstat(file.fileno()).st_size, max(found.f_bavail * found.f_bsize, 1)
                )
            time.sleep(0.02)
        megabytes = os.fstat(file.fileno()).st_size // _CHUNK
    filling.unlink()
    return f"disk full for {seconds:.0f} s, by {megabytes} MB"


FAULTS: dict[str, Callable[[Platform], str]] = {
    "daemon": kill_service("daemon"),
    "webserver": kill_service("webserver"),
    "run worker": kill_run_worker,
    "job": kill_job,
    "PostgreSQL": kill_postgres,
    "power cut": cut_power,
    "disk full": partial(fill_disk, _FULL_SECONDS),
    "disk full for long": partial(fill_disk, _LONG_SECONDS),
}
