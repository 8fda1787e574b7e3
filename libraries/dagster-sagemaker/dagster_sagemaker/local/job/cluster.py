"""The containers of a job, one per instance: waits for their end, or stops them as SageMaker does.

They end by themselves, by the time limit, on request, or by a test's faults. Standard library only.
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
"""The exit code of a container that was killed, most likely because it ran out of memory."""


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
        ending: why they ended.
        failed: the index of the container that failed first, if FAILED.
        exit_code: its exit code, if FAILED; else 0.
    """

    ending: Ending
    failed: int = 0
    exit_code: int = 0


class PlannedFaults:
    """The faults that a job has to suffer, each at its time.

    Args:
        planned: the faults, `{event, after, seconds}` each.
    """

    def __init__(self, planned: Sequence[dict[str, Any]]):
        self._planned = sorted(planned, key=lambda fault: float(fault["after"]))
        self._started = time.monotonic()
        self.interruption_seconds = 0.0

    def take(self, event: str) -> float | None:
        """Use up a fault without a time of its own and return its `seconds`; None if it is not planned."""
        for fault in self._planned:
            if fault["event"] == event:
                self._planned.remove(fault)
                return float(fault["seconds"])
        return None

    def restart(self) -> None:
        """Count the faults' times from now, when the containers start."""
        self._started = time.monotonic()

    def trigger(self, containers: Sequence[Container]) -> bool:
        """Let the next fault happen if it is due.

        Returns:
            Whether the instances are lost.

        Raises:
            JobFailure: the platform itself fails.
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
    faults: PlannedFaults,
    limit: float,
    grace: float,
) -> Ended:
    """Wait until all containers end, or stop them; none of their processes is left afterwards.

    Args:
        containers: the containers, just started.
        stop_requested: returns whether to stop; called many times per second.
        faults: the faults to suffer.
        limit: seconds until they are stopped.
        grace: seconds between SIGTERM and SIGKILL.

    Raises:
        JobFailure: the platform itself fails.
    """
    deadline = time.monotonic() + limit
    faults.restart()
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
            elif faults.trigger(containers):
                ending = Ending.INTERRUPTED
            if ending is not None:
                terminate(containers, grace)
                return Ended(ending)
            time.sleep(POLL_SECONDS)
    finally:
        for container in containers:
            container.close()


def terminate(containers: Sequence[Container], grace: float) -> None:
    """Send SIGTERM to the running containers and wait for the grace period; `close` kills the rest."""
    for container in containers:
        container.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(container.exit_code is None for container in containers) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
