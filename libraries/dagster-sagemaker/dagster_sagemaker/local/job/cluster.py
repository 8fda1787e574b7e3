"""The containers of a job, one an instance, from their start to their common end.

Standard library only. Here: waiting, stopping as SageMaker does (SIGTERM, a grace period, SIGKILL), the time limit,
and the misfortunes that a test wished for. Not here: what containers are given (`processing`, `training`) and the
servers' requests (`transform`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dagster_sagemaker.local.job.container import Container
from dagster_sagemaker.local.job.outcome import JobFailure

POLL_SECONDS = 0.02
KILLED = 128 + signal.SIGKILL
"""The exit code of a container that was killed, most likely for want of memory."""


class Ending(Enum):
    """Why a job's containers are no longer running."""

    EXITED = "all exited with code 0"
    FAILED = "one exited with another code"
    STOPPED = "somebody asked for it"
    TIMED_OUT = "the time limit"
    INTERRUPTED = "the spot instances were taken away"


@dataclass(frozen=True)
class Ended:
    """How the containers ended.

    Attributes:
        ending: Why.
        failed: The place of the container that failed first; only if FAILED.
        exit_code: Its exit code; else 0.
    """

    ending: Ending
    failed: int = 0
    exit_code: int = 0


class Misfortunes:
    """What is to go wrong with a job (see `faults`), each at its time.

    Args:
        planned: `{event, after, seconds}` each.
    """

    def __init__(self, planned: Sequence[dict[str, Any]]):
        self._planned = sorted(planned, key=lambda fault: float(fault["after"]))
        self._started = time.monotonic()
        self.interruption_seconds = 0.0

    def take(self, event: str) -> float | None:
        """The `seconds` of an event that has no time of its own; None if it is not planned."""
        for fault in self._planned:
            if fault["event"] == event:
                self._planned.remove(fault)
                return float(fault["seconds"])
        return None

    def restart(self) -> None:
        """The containers start now: their times count from here."""
        self._started = time.monotonic()

    def strike(self, containers: Sequence[Container]) -> bool:
        """Let happen what is due.

        Returns:
            Whether the instances are taken away.

        Raises:
            JobFailure: The platform itself fails.
        """
        if not self._planned or time.monotonic() - self._started < self._planned[0]["after"]:
            return False
        fault = self._planned.pop(0)
        event = fault["event"]
        if event == "supervisor-death":
            os.kill(os.getpid(), signal.SIGKILL)
        elif event == "internal-error":
            raise JobFailure("InternalServerError: We encountered an internal error. Please try again.")
        elif event == "interruption":
            self.interruption_seconds = float(fault["seconds"])
            return True
        else:
            containers[0].signal({"crash": signal.SIGSEGV, "out-of-memory": signal.SIGKILL}[event])
        return False


def run_to_the_end(
    containers: Sequence[Container],
    *,
    stop_requested: Callable[[], bool],
    misfortunes: Misfortunes,
    limit: float,
    grace: float,
) -> Ended:
    """Wait for the end of all containers, or bring it about; in the end none of their processes is left.

    Args:
        containers: Just started.
        stop_requested: Asked many times a second.
        misfortunes: What is to go wrong.
        limit: Seconds until their time is up.
        grace: Seconds between SIGTERM and SIGKILL.

    Raises:
        JobFailure: The platform itself fails.
    """
    deadline = time.monotonic() + limit
    misfortunes.restart()
    try:
        while True:
            codes = [container.exit_code for container in containers]
            failed = next((number for number, code in enumerate(codes) if code), None)
            if failed is not None:
                terminate(containers, grace)
                return Ended(Ending.FAILED, failed, codes[failed] or 0)
            if None not in codes:
                return Ended(Ending.EXITED)
            ending = None
            if stop_requested():
                ending = Ending.STOPPED
            elif time.monotonic() > deadline:
                ending = Ending.TIMED_OUT
            elif misfortunes.strike(containers):
                ending = Ending.INTERRUPTED
            if ending is not None:
                terminate(containers, grace)
                return Ended(ending)
            time.sleep(POLL_SECONDS)
    finally:
        for container in containers:
            container.close()


def terminate(containers: Sequence[Container], grace: float) -> None:
    """SIGTERM to all that run, and time to leave; killing the rest is left to `close`."""
    for container in containers:
        container.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(container.exit_code is None for container in containers) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
