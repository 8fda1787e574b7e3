"""A container's stand-in: an entry point as a process group of its own, with its output in a log stream.

Standard library only. Not here: what it is given (`processing`, `training`, `transform`), and when it is stopped
(`cluster`).
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


class Container:
    """A started entry point.

    Args:
        argv: The command line.
        environment: Its environment.
        base: Its `/opt/ml`, where it also starts.
        log: Where its output goes, line by line.
        keeper: Who kills it if this process dies.

    Raises:
        JobFailure: The command cannot be started.
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
        assert self._process.stdout is not None  # noqa: S101  # asked for above
        self._pump = threading.Thread(target=self._copy_output, args=(self._process.stdout, log), daemon=True)
        self._pump.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code, 128 and the number for a signal as Docker has it; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process, if it runs; its children get none, as in a container."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End whatever still runs of the group, as a container ends with its first process."""
        if self._closed:
            # Its process id may be somebody else's by now.
            return
        self._closed = True
        signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._keeper.release(self._process.pid)
        self._pump.join(timeout=_LAST_WORDS_SECONDS)
        if self._pump.is_alive():
            # Somebody who left the group holds the output open.
            kill_processes(self._base)
            self._pump.join()

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


def container_environment(*, credentials: bool) -> dict[str, str]:
    """What a container finds of the supervisor's own small environment.

    Args:
        credentials: Whether AWS's variables are among it; network isolation takes them away, as on AWS.
    """
    return {name: value for name, value in os.environ.items() if credentials or not name.startswith("AWS_")}
