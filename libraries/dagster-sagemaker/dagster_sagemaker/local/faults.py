"""Faults that the local runner commits on purpose, for tests of what depends on SageMaker.

Here: what can be made to fail, and the list of faults in `<home>/faults.json`, which every client, process and job of
the same home sees. Not here: how a fault is played (`transport` for calls, `cluster` for jobs). Without that file
nothing is ever injected; no setting and no environment variable leads here.

Example:
    >>> faults = Faults(home)                                                # the runner's home
    >>> faults.inject(CallFault("throttling", operation="Describe*", times=5))
    >>> faults.inject(CallFault("lost-response", operation="CreateTrainingJob"))
    >>> faults.inject(CallFault("throttling", times=None, probability=0.3, seed=7))
    >>> faults.inject(JobFault("out-of-memory", after=0.5))                  # the next job that is created
    >>> faults.inject(JobFault("interruption", job="gbm-*", after=1.0, seconds=0.2))
    >>> faults.inject(JobFault("supervisor-death", kind="processing", after=1.0, times=3))
    >>> [(fired.event, fired.target) for fired in faults.fired()]
    >>> faults.clear()

A call's fault is answered on the wire, below botocore's own retries: a client that retries by itself uses up several
`times` in one call. A job's faults are drawn when the job is created and travel with it, so that they hold for the job
whoever looks at it. Several faults may hit the same job, each at its time.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from dagster_sagemaker.local.files import locked, write_json

CallEvent = Literal["throttling", "unavailable", "lost-request", "lost-response"]
JobEvent = Literal[
    "capacity", "slow-start", "interruption", "crash", "out-of-memory", "internal-error", "supervisor-death"
]


@dataclass(frozen=True)
class CallFault:
    """Calls of an operation, of SageMaker or CloudWatch Logs, fail.

    Attributes:
        event: What happens:
            `throttling`: HTTP 400, `ThrottlingException: Rate exceeded`; the operation is not done.
            `unavailable`: HTTP 503, `ServiceUnavailableException`; the operation is not done.
            `lost-request`: the connection cannot be made (`EndpointConnectionError`); the operation is not done.
            `lost-response`: the operation is done, then the connection breaks (`ConnectionClosedError`).
        operation: A glob pattern of API operations, such as `Describe*` or `CreateTrainingJob`.
        times: How many calls fail; None for all while the fault stands.
        probability: The share of the matching calls that fail.
        seed: Of the draws, so that a run can be repeated.
    """

    event: CallEvent
    operation: str = "*"
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class JobFault:
    """Jobs that are created from now on meet a misfortune.

    Attributes:
        event: What happens:
            `capacity`: no instance is found; the job is Failed with a `CapacityError`, its container never runs.
            `slow-start`: the job stays `Starting` for `seconds`.
            `interruption`: managed spot Training only (others are not hit): SIGTERM, the grace period, SIGKILL,
            secondary status `Interrupted` for `seconds`, then the same job starts again with its checkpoints.
            `crash`: one container dies of a segmentation fault (exit code 139).
            `out-of-memory`: one container is killed (exit code 137).
            `internal-error`: the platform fails (`InternalServerError`); a Training job with a RetryStrategy starts
            again.
            `supervisor-death`: the job's supervisor dies by SIGKILL, as when the machine is lost.
        kind: A glob pattern of kinds: `processing`, `training`, `transform`.
        job: A glob pattern of job names.
        times: How many jobs are hit, each once.
        after: Seconds from the start of the containers to the event; no matter for `capacity` and `slow-start`.
        seconds: How long a `slow-start` or an `interruption` lasts.
    """

    event: JobEvent
    kind: str = "*"
    job: str = "*"
    times: int = 1
    after: float = 0.0
    seconds: float = 1.0


@dataclass(frozen=True)
class Fired:
    """A fault that was given out.

    Attributes:
        event: What happened, or will happen to the job.
        target: The operation that failed, or `<kind>/<name>` of the job.
        at: When, in seconds since the epoch.
    """

    event: str
    target: str
    at: float


class Faults:
    """The faults of one home; changed and read by any number of processes.

    Args:
        home: The home of the `LocalSageMaker`.
    """

    def __init__(self, home: Path):
        self._path = home / "faults.json"

    def inject(self, *faults: CallFault | JobFault) -> None:
        """Add faults; the first that matches is used up first."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._changing() as plan:
            for fault in faults:
                kind = "call" if isinstance(fault, CallFault) else "job"
                plan[kind].append({**asdict(fault), "drawn": 0})

    def clear(self) -> None:
        """Take back what has not happened, and forget what has; jobs already created keep their faults."""
        if self._path.exists():
            with self._changing() as plan:
                plan.update(call=[], job=[], fired=[])

    def fired(self) -> list[Fired]:
        """What was given out since the last `clear`, in order."""
        return [Fired(**entry) for entry in self._read()["fired"]]

    def take_call(self, operation: str) -> CallEvent | None:
        """Whether a call is to fail now, and how; for the runner itself."""
        if not self._path.exists():
            return None
        with self._changing() as plan:
            for entry in plan["call"]:
                if fnmatchcase(operation, entry["operation"]) and entry["times"] != 0:
                    entry["drawn"] += 1
                    # Not for cryptography; a generator of its own for each draw, for the file keeps no state of one.
                    drawn = random.Random(f"{entry['seed']}:{entry['drawn']}").random()  # noqa: S311
                    if drawn < entry["probability"]:
                        event: CallEvent = entry["event"]
                        _use_up(plan, entry, operation)
                        return event
        return None

    def take_job(self, kind: str, name: str, *, spot: bool) -> list[dict[str, Any]]:
        """The misfortunes of a job that is being created, `{event, after, seconds}`; for the runner itself."""
        if not self._path.exists():
            return []
        taken = []
        with self._changing() as plan:
            for entry in plan["job"]:
                matches = fnmatchcase(kind, entry["kind"]) and fnmatchcase(name, entry["job"])
                if matches and entry["times"] != 0 and (spot or entry["event"] != "interruption"):
                    _use_up(plan, entry, f"{kind}/{name}")
                    taken.append({member: entry[member] for member in ("event", "after", "seconds")})
        return taken

    @contextmanager
    def _changing(self) -> Iterator[dict[str, list[dict[str, Any]]]]:
        with locked(self._path.with_suffix(".lock")):
            plan = self._read()
            yield plan
            write_json(self._path, plan)

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        if not self._path.exists():
            return {"call": [], "job": [], "fired": []}
        plan: dict[str, list[dict[str, Any]]] = json.loads(self._path.read_text(encoding="utf-8"))
        return plan


def _use_up(plan: dict[str, list[dict[str, Any]]], entry: dict[str, Any], target: str) -> None:
    if entry["times"] is not None:
        entry["times"] -= 1
    plan["fired"].append(asdict(Fired(entry["event"], target, time.time())))
