"""Faults for tests: make the local runner fail on purpose, to test the code that depends on SageMaker.

Faults are kept in `<home>/faults.json`, which every client, process and job with the same home sees. Without that file
nothing is ever injected; no setting and no environment variable does it.

Example:
    >>> faults = Faults(home)                                                # the runner's home
    >>> faults.inject(CallFault("throttling", operation="Describe*", times=5))
    >>> faults.inject(CallFault("lost-response", operation="CreateTrainingJob"))
    >>> faults.inject(CallFault("throttling", times=None, probability=0.3, seed=7))
    >>> faults.inject(JobFault("out-of-memory", after=0.5))                  # the next job that is created
    >>> faults.inject(JobFault("interruption", job="train-*", after=1.0, seconds=0.2))
    >>> faults.inject(JobFault("supervisor-death", kind="processing", after=1.0, times=3))
    >>> [(fired.event, fired.target) for fired in faults.fired()]
    >>> faults.clear()

A call fails on the wire, below botocore's own retries, so a client that retries by itself uses up several `times` in
one call. A job's faults are assigned when the job is created and stay with it, whoever follows it. Several faults may
hit the same job, each at its own time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dagster_sagemaker.local.fault_plan import CallEvent, FaultPlan, JobEvent

__all__ = ["CallEvent", "CallFault", "Faults", "Fired", "JobEvent", "JobFault"]


@dataclass(frozen=True)
class CallFault:
    """Makes calls of an operation of SageMaker or CloudWatch Logs fail.

    Attributes:
        event: what happens:
            `throttling`: HTTP 400, `ThrottlingException: Rate exceeded`; the operation does not happen.
            `unavailable`: HTTP 503, `ServiceUnavailableException`; the operation does not happen.
            `lost-request`: the connection cannot be made (`EndpointConnectionError`); the operation does not happen.
            `lost-response`: the operation happens, then the connection breaks (`ConnectionClosedError`).
        operation: a glob pattern of API operations, such as `Describe*` or `CreateTrainingJob`.
        times: number of calls that fail; None for all until the fault is cleared.
        probability: the share of the matching calls that fail.
        seed: the seed of the draws, so that a test can be repeated.
    """

    event: CallEvent
    operation: str = "*"
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class JobFault:
    """Makes something happen to jobs that are created from now on.

    Attributes:
        event: what happens:
            `capacity`: no instance is found; the job is Failed with a `CapacityError`, its container never runs.
            `slow-start`: the job stays `Starting` for `seconds`.
            `interruption`: managed spot training only (other jobs are not hit): SIGTERM, the grace period, SIGKILL,
            secondary status `Interrupted` for `seconds`, then the same job starts again with its checkpoints.
            `crash`: one container dies of a segmentation fault (exit code 139).
            `out-of-memory`: one container is killed (exit code 137).
            `internal-error`: the platform fails (`InternalServerError`); a Training job with a RetryStrategy starts
            again.
            `supervisor-death`: the job's supervisor dies by SIGKILL, as when the machine is lost.
        kind: a glob pattern of kinds: `processing`, `training`, `transform`.
        job: a glob pattern of job names.
        times: number of jobs that are hit, each once.
        after: seconds from the start of the containers to the event; ignored for `capacity` and `slow-start`.
        seconds: how long a `slow-start` or an `interruption` lasts.
    """

    event: JobEvent
    kind: str = "*"
    job: str = "*"
    times: int = 1
    after: float = 0.0
    seconds: float = 1.0


@dataclass(frozen=True)
class Fired:
    """A fault that was used.

    Attributes:
        event: what happened, or will happen to the job.
        target: the operation that failed, or `<kind>/<name>` of the job.
        at: when, in seconds since the epoch.
    """

    event: str
    target: str
    at: float


class Faults:
    """The faults of one home; any number of processes may change and read them.

    Args:
        home: the home of the `LocalSageMaker`.
    """

    def __init__(self, home: Path):
        self._plan = FaultPlan(home)

    def inject(self, *faults: CallFault | JobFault) -> None:
        """Add faults; of several that match, the first is used up first."""
        with self._plan.changing() as plan:
            for fault in faults:
                kind = "call" if isinstance(fault, CallFault) else "job"
                plan[kind].append({**asdict(fault), "drawn": 0})

    def clear(self) -> None:
        """Remove all faults and the record of those that fired; jobs already created keep theirs."""
        if self._plan.exists:
            with self._plan.changing() as plan:
                plan.update(call=[], job=[], fired=[])

    def fired(self) -> list[Fired]:
        """Return the faults used since the last `clear`, in order."""
        return [Fired(**entry) for entry in self._plan.read()["fired"]]
