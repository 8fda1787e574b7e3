"""The stand-in for a container: an entry point in its own process group, with its output in a log stream.

Standard library only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from dagster_sagemaker.local.job.outcome import JobFailure
from dagster_sagemaker.local.job_processes import BASE_VARIABLE, Keeper, kill_processes, signal_group

_LAST_WORDS_SECONDS = 0.5


class LogStream:
    """A log stream: one JSON object per line, with the time in milliseconds and the message.

    Args:
        path: the file, created with the first line.
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


class Container:
    """A started entry point.

    Args:
        argv: the command line.
        environment: the environment variables.
        base: its `/opt/ml`, also its working directory.
        log: receives its output, line by line.
        keeper: kills it if this process dies.

    Raises:
        JobFailure: the command cannot be started.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], base: Path, log: LogStream, keeper: Keeper):
        self._keeper = keeper
        self._base = base
        self._closed = False
        try:
            self._process = subprocess.Popen(
                list(argv),
                # Unbuffered, so that the log can be followed while the job runs.
                env={"PYTHONUNBUFFERED": "1", **environment, BASE_VARIABLE: str(base)},
                cwd=base,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            raise JobFailure(f"ClientError: the entry point {argv[0]} cannot be started: {error}") from error
        keeper.watch(self._process.pid)
        assert self._process.stdout is not None  # noqa: S101  # requested above
        self._pump = threading.Thread(target=self._copy_output, args=(self._process.stdout, log), daemon=True)
        self._pump.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code; for a signal 128 plus its number, as in Docker; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the first process if it runs; as in a container, its children get none."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Kill the rest of the process group, as a container ends with its first process."""
        if self._closed:
            # Another process may have its id now.
            return
        self._closed = True
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._keeper.release(self._process.pid)
        self._pump.join(timeout=_LAST_WORDS_SECONDS)
        if self._pump.is_alive():
            # A process that left the group keeps the output open.
            kill_processes(self._base)
            self._pump.join()

    @staticmethod
    def _copy_output(output: IO[bytes], log: LogStream) -> None:
        for line in output:
            log.write(line.decode("utf-8", errors="replace").rstrip("\r\n"))


def command_line(
    entry_point: Sequence[str], override: Sequence[str], arguments: Sequence[str], default_arguments: Sequence[str]
) -> list[str]:
    """Return the command line by Docker's rules: an overriding entry point gets its own arguments only."""
    if override:
        return [*override, *arguments]
    return [*entry_point, *(arguments or default_arguments)]


def container_environment(*, credentials: bool) -> dict[str, str]:
    """Return the variables that a container inherits from the supervisor.

    Args:
        credentials: whether to include AWS's variables; as on AWS, network isolation removes them.
    """
    return {name: value for name, value in os.environ.items() if credentials or not name.startswith("AWS_")}
