"""A container's stand-in: an entry point as a process group of its own, with its output in the job's log.

Here: starting it with a small environment, waiting, stopping it as SageMaker does (SIGTERM, a grace period, SIGKILL),
and making sure that it never outlives its supervisor. Not here: what it is given (`processing`, `training`,
`transform`). Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.02


class Ending(Enum):
    """Why a container is no longer running."""

    EXITED = "exited"
    STOPPED = "stopped"
    TIMED_OUT = "timed out"


class LogStream:
    """A log stream: one JSON object a line, with the time in milliseconds and the message.

    Args:
        path: The file, created with the first line.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()

    def write(self, message: str) -> None:
        """Append one line."""
        line = json.dumps({"timestamp": int(time.time() * 1000), "message": message})
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")


class Keeper:
    """A forked process that kills the container's process group if the supervisor dies without doing so.

    It waits for the end of a pipe whose other end the supervisor alone holds. Being forked, it shares the supervisor's
    lock, so the job counts as alive until its processes are gone. Create it before any thread.
    """

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            # Out of the supervisor's session, so that a signal to its group spares the keeper.
            os.setsid()
            os.close(self._writing)
            try:
                self._keep(reading)
            finally:
                # Whatever happens, the child must not go on as a second supervisor.
                os._exit(0)
        os.close(reading)

    def watch(self, group: int) -> None:
        """Kill this group if the supervisor dies; 0 for none."""
        os.write(self._writing, f"{group}\n".encode())

    def dismiss(self) -> None:
        """Let it end, and reap it: where the first process of a machine reaps nobody, it would stay a zombie."""
        os.close(self._writing)
        os.waitpid(self._process, 0)

    @staticmethod
    def _keep(reading: int) -> None:
        group = 0
        with os.fdopen(reading) as pipe:
            for line in pipe:
                group = int(line)
        if group:
            _signal_group(group, signal.SIGKILL)


class Container:
    """A started entry point.

    Args:
        argv: The command line.
        environment: All that it finds in its environment, besides the supervisor's own small one.
        working_folder: Where it starts.
        log: Where its output goes, line by line.
        keeper: Who kills it if this process dies.

    Raises:
        OSError: The command cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        working_folder: Path,
        log: LogStream,
        keeper: Keeper,
    ):
        self._keeper = keeper
        self._process = subprocess.Popen(
            list(argv),
            env={**os.environ, **environment},
            cwd=working_folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        keeper.watch(self._process.pid)
        assert self._process.stdout is not None  # noqa: S101  # asked for above
        self._pump = threading.Thread(target=self._copy_output, args=(self._process.stdout, log), daemon=True)
        self._pump.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, stop_requested: Callable[[], bool], deadline: float, grace: float) -> Ending:
        """Wait for the end, or bring it about.

        Args:
            stop_requested: Asked many times a second.
            deadline: When its time is up, on the clock of `time.monotonic`.
            grace: Seconds between SIGTERM and SIGKILL.
        """
        ending = Ending.EXITED
        while self.exit_code is None:
            if stop_requested():
                ending = Ending.STOPPED
            elif time.monotonic() > deadline:
                ending = Ending.TIMED_OUT
            if ending is not Ending.EXITED:
                self._terminate(grace)
                break
            time.sleep(_POLL_SECONDS)
        self.close(0.0)
        return ending

    def close(self, grace: float) -> None:
        """End whatever still runs of the group, as a container ends with its first process."""
        self._terminate(grace)
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._keeper.watch(0)
        self._pump.join(timeout=5)

    def _terminate(self, grace: float) -> None:
        if self.exit_code is None and grace > 0:
            _signal_group(self._process.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self.exit_code is None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)

    @staticmethod
    def _copy_output(output: IO[bytes], log: LogStream) -> None:
        for line in output:
            log.write(line.decode("utf-8", errors="replace").rstrip("\r\n"))


def command_line(
    entry_point: Sequence[str], override: Sequence[str], arguments: Sequence[str], default_arguments: Sequence[str]
) -> list[str]:
    """Docker's rules: an overriding entry point takes its own arguments only; else arguments replace the defaults."""
    if override:
        return [*override, *arguments]
    return [*entry_point, *(arguments or default_arguments)]


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
