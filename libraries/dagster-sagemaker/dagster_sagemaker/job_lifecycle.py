"""The life cycle of one job, the same for all three kinds: find, adopt or create, follow, stop.

Here: which attempt is due, and how a job is created, polled, stopped and judged. Not here: what Pipes adds
(`pipes_client`), what a model adds (`transform_client`), calls that outlast trouble (`calls`), whose a job is
(`ownership`), the jobs that nobody follows any more (`sweeper`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from dagster import AssetExecutionContext, OpExecutionContext
from dagster._core.errors import DagsterExecutionInterruptedError

from dagster_sagemaker.calls import PatientCalls
from dagster_sagemaker.job_logs import LogTail
from dagster_sagemaker.kinds import TERMINAL_STATUSES, JobKind
from dagster_sagemaker.naming import digest, job_name, name_prefix
from dagster_sagemaker.ownership import owner, run_tags, take_over, work_identity
from dagster_sagemaker.results import Description, Prices, SageMakerJobError, job_links, job_metadata
from dagster_sagemaker.validation import validate

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

AdoptCompleted = Callable[[Description], bool]
"""Whether the results of a completed job of the same name can still be used."""

DEFAULT_POLL_SECONDS = 15.0
DEFAULT_PATIENCE_SECONDS = 900.0

_STOP_SECONDS = 900.0
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Following:
    """How jobs are followed.

    Attributes:
        client: A boto3 SageMaker client.
        logs_client: A boto3 CloudWatch Logs client to follow the jobs' logs with; None to follow none.
        poll_interval: Seconds between two looks at a job, and up to a quarter more.
        patience: Seconds of throttling or of a lost network that are waited out.
        forward_termination: Whether a run that is cancelled stops its job.
        prices: USD an hour by instance type, for the estimate of a job's cost.
    """

    client: SageMakerClient
    logs_client: CloudWatchLogsClient | None = None
    poll_interval: float = DEFAULT_POLL_SECONDS
    patience: float = DEFAULT_PATIENCE_SECONDS
    forward_termination: bool = True
    prices: Prices = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """The job that is due for a piece of work.

    Attributes:
        name: Its name.
        adopted: Whether it exists already, running or completed.
    """

    name: str
    adopted: bool


class JobLifecycle:
    """Finds, creates, follows and stops the job that does a step's work.

    Args:
        following: How.
        kind: The job's kind.
        context: Whose work it is.

    Attributes:
        calls: The client's calls, with patience.
    """

    def __init__(self, following: Following, kind: JobKind, context: OpExecutionContext | AssetExecutionContext):
        self._following = following
        self._kind = kind
        self._context = context
        self._log = context.log
        self.calls = PatientCalls(
            following.client, context.log, interval=following.poll_interval, patience=following.patience
        )

    def find_attempt(self, params: Mapping[str, Any], adopt_completed: AdoptCompleted | None) -> Attempt:
        """The attempt of this work that is due.

        A running job is adopted, a completed one too unless its results are gone, and after one that failed or was
        stopped the next attempt is due.

        Args:
            params: The request without a name, placeholders unresolved.
            adopt_completed: Decides whether a completed job is still of use; None for always.
        """
        step, partition = work_identity(self._context)
        prefix = name_prefix(step, partition)
        params_digest = digest(params, identity=f"{step}|{partition}")
        number = 1
        while True:
            name = job_name(prefix, params_digest, number)
            description = self._find(name)
            if description is None:
                return Attempt(name, adopted=False)
            if description[self._kind.job_status] == "Stopping":
                description = self._await_end(name)
            status = description[self._kind.job_status]
            if status == "InProgress":
                self._log.info(f"SageMaker {self._kind.name} job {name} is already running: adopted")
                take_over(self.calls, description[self._kind.job_arn], run_tags(self._context))
                return Attempt(name, adopted=True)
            if status == "Completed" and (adopt_completed is None or adopt_completed(description)):
                self._log.info(f"SageMaker {self._kind.name} job {name} has already completed: adopted")
                return Attempt(name, adopted=True)
            self._log.info(f"SageMaker {self._kind.name} job {name} is of no use ({status}); the next attempt is due")
            number += 1

    def run(self, attempt: Attempt, request: Mapping[str, Any], time_limit: float | None = None) -> Description:
        """Create the job unless it is adopted, and follow it to its end.

        Args:
            attempt: Which job.
            request: The complete request.
            time_limit: Seconds since its creation after which the job is stopped.

        Returns:
            The final description; its status is Completed.

        Raises:
            RequestValidationError: The request breaks limits of the service; nothing was sent.
            SageMakerJobError: The job failed, or was stopped by somebody or by the time limit.
            TimeoutError: It did not end though it was told to stop long ago.
        """
        validate(self._following.client, self._kind.operation("Create"), request)
        # The creation too: an interruption after AWS took the request must not leave a job behind.
        try:
            if not attempt.adopted:
                self._create(request)
            return self._follow(attempt.name, time_limit)
        except DagsterExecutionInterruptedError:
            if self._following.forward_termination:
                self._cancel(attempt.name)
            raise

    def metadata(self, attempt: Attempt, description: Description) -> dict[str, Any]:
        """What a materialization shows of the job."""
        return job_metadata(
            self._kind,
            description,
            adopted=attempt.adopted,
            client=self._following.client,
            prices=self._following.prices,
            describe_calls=self.calls.made[self._kind.method("Describe")],
        )

    def _create(self, request: Mapping[str, Any]) -> None:
        name = request[self._kind.job_name]
        try:
            self.calls(self._kind.method("Create"), **request)
            self._log.info(f"SageMaker {self._kind.name} job {name} created")
        except ClientError as error:
            if not is_name_taken(error):
                raise
            # By another run at the same moment, or by an earlier try of ours whose answer was lost.
            self._log.info(f"SageMaker {self._kind.name} job {name} exists by now: adopted")
            description = self._describe(name)
            take_over(self.calls, description[self._kind.job_arn], run_tags(self._context))

    def _follow(self, name: str, time_limit: float | None) -> Description:
        tail = LogTail(self._following.logs_client, self._kind, name, self._log)
        shown = note = ""
        give_up: float | None = None
        while True:
            description = self._describe(name)
            if (now := _progress(self._kind, description)) != shown:
                shown = now
                self._log.info(f"SageMaker {self._kind.name} job {name}: {shown}")
            if description[self._kind.job_status] in TERMINAL_STATUSES:
                break
            tail.copy()
            if time_limit is not None and give_up is None and _age_seconds(description) > time_limit:
                note = f"it ran longer than its limit of {time_limit:g} s"
                self._log.warning(f"Stopping the SageMaker {self._kind.name} job {name}: {note}")
                self._stop(name)
                give_up = time.monotonic() + _STOP_SECONDS
            self._wait(name, give_up)
        tail.drain(min(self._following.poll_interval, _DRAIN_SECONDS))
        # Stopped is no success: its outputs are missing or partial.
        if description[self._kind.job_status] != "Completed":
            links = job_links(self._kind, name, self._following.client)
            raise SageMakerJobError(self._kind, name, description, list(tail.last_lines), note, links)
        return description

    def _cancel(self, name: str) -> None:
        """Stop the job of an interrupted run and wait until it has stopped, unless another run follows it by now."""
        description = self._find(name)
        if description is None or description[self._kind.job_status] in TERMINAL_STATUSES:
            return
        if owner(self.calls, description[self._kind.job_arn]) not in (None, self._context.run.run_id):
            self._log.warning(f"The run is interrupted; another run follows the job {name}, which goes on")
            return
        self._log.warning(f"The run is interrupted: stopping the SageMaker {self._kind.name} job {name}")
        self._stop(name)
        description = self._await_end(name)
        self._log.info(f"SageMaker {self._kind.name} job {name} ended as {description[self._kind.job_status]}")

    def _stop(self, name: str) -> None:
        stop_job(self.calls, self._kind, name)

    def _find(self, name: str) -> Description | None:
        try:
            return self._describe(name)
        except ClientError as error:
            # Describe has no code of its own for a job that does not exist.
            if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
                return None
            raise

    def _describe(self, name: str) -> Description:
        return self.calls(self._kind.method("Describe"), **{self._kind.job_name: name})

    def _await_end(self, name: str) -> Description:
        give_up = time.monotonic() + _STOP_SECONDS
        while True:
            description = self._describe(name)
            if description[self._kind.job_status] in TERMINAL_STATUSES:
                return description
            self._wait(name, give_up)

    def _wait(self, name: str, give_up: float | None) -> None:
        if give_up is not None and time.monotonic() > give_up:
            raise TimeoutError(
                f"SageMaker {self._kind.name} job {name} did not end within {_STOP_SECONDS:g} s of its stop; look at "
                "it in AWS's console: it may still cost money"
            )
        self.calls.pause()


def stop_job(calls: PatientCalls, kind: JobKind, name: str) -> None:
    """Ask a job to stop; one that has ended, or never was, is left as it is."""
    try:
        calls(kind.method("Stop"), **{kind.job_name: name})
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise


def is_name_taken(error: ClientError) -> bool:
    """Whether a creation failed because the name exists; AWS has two ways to say so."""
    details = error.response["Error"]
    return details["Code"] == "ResourceInUse" or (
        details["Code"] == "ValidationException" and "already exist" in details.get("Message", "")
    )


def _progress(kind: JobKind, description: Description) -> str:
    status: str = description[kind.job_status]
    secondary = description.get("SecondaryStatus", status)
    return status if secondary == status else f"{status}, {secondary}"


def _age_seconds(description: Description) -> float:
    created: datetime = description["CreationTime"]
    return (datetime.now(UTC) - created).total_seconds()
