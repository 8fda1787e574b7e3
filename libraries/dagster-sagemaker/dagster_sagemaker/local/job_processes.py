"""The processes of a job: found, killed, and never left behind.

A job's processes carry `SAGEMAKER_BASE_DIR=<job folder>/ml/<host>` in their environment. By that mark they are found,
though they left their process group or their parent died, and no process that got a used process id is taken for one
of them. Standard library only. Not here: starting them (`container`).
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

    It waits for the end of a pipe whose other end the supervisor alone holds. Being forked, it shares the supervisor's
    lock, so the job counts as alive until its processes are gone. Create it before any thread.

    Args:
        folder: The folder of the job's `/opt/ml`s, which marks its processes.
    """

    def __init__(self, folder: Path) -> None:
        reading, self._writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            # Out of the supervisor's session, so that a signal to its group spares the keeper.
            os.setsid()
            os.close(self._writing)
            try:
                self._keep(reading, folder)
            finally:
                # Whatever happens, the child must not go on as a second supervisor.
                os._exit(0)
        os.close(reading)

    def watch(self, group: int) -> None:
        """Kill this process group if the supervisor dies."""
        os.write(self._writing, f"{group}\n".encode())

    def release(self, group: int) -> None:
        """Forget a process group: it is gone."""
        os.write(self._writing, f"-{group}\n".encode())

    def dismiss(self) -> None:
        """Let it end, and reap it: where the first process of a machine reaps nobody, it would stay a zombie."""
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
    """Send a signal to a process group; one that is gone is left alone."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def kill_processes(folder: Path) -> None:
    """Kill all processes that carry the mark of a folder, until two looks in a row find none."""
    give_up = time.monotonic() + _PATIENCE_SECONDS
    quiet = 0
    while quiet < 2 and time.monotonic() < give_up:
        found = list(marked_processes(folder))
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        # A second look: a process may have been between its fork and its start.
        quiet = 0 if found else quiet + 1
        time.sleep(_PAUSE_SECONDS)


def marked_processes(folder: Path) -> Iterator[int]:
    """The processes whose base directory is a folder or lies in it; none where there is no /proc."""
    mark = f"{BASE_VARIABLE}={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            # Gone meanwhile, or somebody else's.
            continue
        if any(variable == mark or variable.startswith(mark + b"/") for variable in environment.split(b"\0")):
            yield int(entry.name)
