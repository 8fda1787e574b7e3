"""What strikes a platform: each fault is a function that does its harm and tells what it did.

What a service manager would start again is started again; nothing else is done for the week. Not here: when a fault
strikes, and what comes of it (`chaos`).
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
"""The longer one lasts until the daemon has loaded the code again, or tried to, which it does every minute."""
_JOB_SECONDS = 20.0
_CHUNK = 1 << 20


def kill_service(name: str) -> Callable[[Platform], str]:
    """Return the fault that kills a service with its code servers; runs that it started live on or die with it."""

    def strike(platform: Platform) -> str:
        kill_group(platform.services[name])
        platform.start(name)
        return f"{name} killed"

    return strike


def kill_run_worker(platform: Platform) -> str:
    """Kill the run's own process; those of its steps notice."""
    run = platform.runs()[0]
    for entry in platform.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = entry.get_dagster_event().engine_event_data.metadata.get("pid")
        if isinstance(pid, dg.TextMetadataValue) and pid.text and entry.step_key is None:
            kill(int(pid.text))
            return "run worker killed"
    return ""


def kill_job(platform: Platform) -> str:
    """Kill a job's program, the next one where none runs at the moment."""
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
    """Kill the database's postmaster; its other processes end with it."""
    kill(int((platform.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))
    return "postgres killed"


def cut_power(platform: Platform) -> str:
    """Kill everything at once, and start the services again."""
    found = platform.processes()
    for pid in found:
        kill(pid)
    for name, service in list(platform.services.items()):
        kill_group(service)
        platform.start(name)
    return f"all {len(found)} processes killed"


def fill_disk(seconds: float, platform: Platform) -> str:
    """Fill the file system of the whole home: lake, database, jobs, Dagster's own records."""
    filling = platform.home / "filling"
    deadline = time.monotonic() + seconds
    with filling.open("wb", buffering=0) as file:
        while time.monotonic() < deadline:  # what others free is taken, too
            found = os.statvfs(platform.home)
            with contextlib.suppress(OSError):  # others were quicker
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
