"""The processes of a job: found, killed, and never left behind.

A job's processes have `SAGEMAKER_BASE_DIR=<job folder>/ml/<host>` in their environment. By this mark they are found
even if they left their process group or their parent died, and a process with a reused id is never mistaken for one of
them. Standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

BASE_VARIABLE = "SAGEMAKER_BASE_DIR"
_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 10.0


class Keeper:
    """A forked process that kills the job's processes if the supervisor dies without doing so.

    It waits for the end of a pipe whose other end only the supervisor has open. As a fork it shares the supervisor's
    lock, so the job counts as alive until its processes are gone. Create it before any thread.

    Args:
        folder: the folder with the instances' `/opt/ml`, which marks the job's processes.
    """

    def __init__(self, folder: Path) -> None:
        reading, self._writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            # Leave the supervisor's session, so that a signal to its group spares the keeper.
            os.setsid()
            os.close(self._writing)
            try:
                self._keep(reading, folder)
            finally:
                # Whatever happens, the child must not continue as a second supervisor.
                os._exit(0)
        os.close(reading)

    def watch(self, group: int) -> None:
        """Kill this process group if the supervisor dies."""
        os.write(self._writing, f"{group}\n".encode())

    def release(self, group: int) -> None:
        """Forget a process group that is gone."""
        os.write(self._writing, f"-{group}\n".encode())

    def dismiss(self) -> None:
        """End and reap the keeper, which would stay a zombie where no init process reaps it."""
        os.write(self._writing, b"0\n")
        os.close(self._writing)
        os.waitpid(self._process, 0)

    @staticmethod
    def _keep(reading: int, folder: Path) -> None:
        groups: set[int] = set()
        with os.fdopen(reading) as pipe:
            for line in pipe:
                number = int(line)
                if number == 0:
                    return
                (groups.add if number > 0 else groups.discard)(abs(number))
        for group in groups:
            signal_group(group, signal.SIGKILL)
        kill_processes(folder)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group, unless it is gone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def kill_processes(folder: Path) -> None:
    """Kill all processes that carry the mark of a folder, until two searches in a row find none."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    quiet = 0
    while quiet < 2 and time.monotonic() < give_up:
        found = list(marked_processes(folder))
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # Search again: a process may have been between its fork and its exec.
        quiet = 0 if found else quiet + 1
        time.sleep(_PAUSE_SECONDS)


def marked_processes(folder: Path) -> Iterator[int]:
    """Yield the processes whose base directory is this folder or below it; none on systems without /proc."""
    mark = f"{BASE_VARIABLE}={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            # It has ended meanwhile, or belongs to another user.
            continue
        if any(variable == mark or variable.startswith(mark + b"/") for variable in environment.split(b"\0")):
            yield int(entry.name)
