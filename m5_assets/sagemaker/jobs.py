"""The life cycle of one job, the same for all three kinds: find, adopt or create, follow, stop.

Here: which attempt is due, and how a job is created, polled, stopped and judged. Not here: what Pipes adds
(`pipes_client`) and what a model adds (`transform_client`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from dagster import AssetExecutionContext, DagsterLogManager, OpExecutionContext
from dagster._core.errors import DagsterExecutionInterruptedError, DagsterPipesExecutionError

from m5_assets.sagemaker.job_logs import LogTail
from m5_assets.sagemaker.kinds import TERMINAL_STATUSES, JobKind
from m5_assets.sagemaker.naming import digest, job_name, name_prefix
from m5_assets.sagemaker.validation import is_tag_character, validate

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

Description = Mapping[str, Any]
"""The response of a Describe operation."""

AdoptCompleted = Callable[[Description], bool]
"""Whether the results of a completed job of the same name can still be used."""

_PATIENCE_SECONDS = 300.0
_STOP_SECONDS = 900.0
_DRAIN_SECONDS = 5.0
_MAX_TAG_LENGTH = 256


class SageMakerJobError(DagsterPipesExecutionError):
    """A job ended, but not as Completed.

    Attributes:
        job_name: The job's name.
        status: `Failed` or `Stopped`.
        description: The final response of the Describe operation.
        log_lines: The last lines of the job's log.
    """

    def __init__(self, kind: JobKind, name: str, description: Description, log_lines: list[str], note: str = ""):
        self.job_name = name
        self.status: str = description[kind.job_status]
        self.description = description
        self.log_lines = log_lines
        parts = [f"SageMaker {kind.name} job {name} ended as {self.status}"]
        parts += [text for text in (note, description.get("FailureReason", "")) if text]
        if message := description.get("ExitMessage"):
            parts.append(f"exit message: {message}")
        if log_lines:
            parts.append("last lines of its log:\n" + "\n".join(log_lines))
        super().__init__("; ".join(parts))

    @property
    def is_container_failure(self) -> bool:
        """Whether the container itself failed, and not AWS, the request, or a person who stopped it."""
        return self.status == "Failed" and str(self.description.get("FailureReason", "")).startswith("AlgorithmError")


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
    """Finds, creates, follows and stops jobs through a boto3 client.

    Args:
        client: A boto3 SageMaker client.
        logs_client: A boto3 CloudWatch Logs client to follow the jobs' logs with; None to follow none.
        poll_interval: Seconds between two looks at a job, give or take a fifth.
        forward_termination: Whether a run that is cancelled stops its job.
    """

    def __init__(
        self,
        client: SageMakerClient,
        logs_client: CloudWatchLogsClient | None,
        poll_interval: float,
        forward_termination: bool,
    ):
        self.client = client
        self._logs_client = logs_client
        self._poll_interval = poll_interval
        self._forward_termination = forward_termination

    def find_attempt(
        self,
        context: OpExecutionContext | AssetExecutionContext,
        kind: JobKind,
        params: Mapping[str, Any],
        adopt_completed: AdoptCompleted | None,
    ) -> Attempt:
        """The attempt of this work that is due.

        A running job is adopted, a completed one too unless its results are gone, and after one that failed or was
        stopped the next attempt is due.

        Args:
            context: Whose work it is.
            kind: The job's kind.
            params: The request without a name, placeholders unresolved.
            adopt_completed: Decides whether a completed job is still of use; None for always.
        """
        step, partition = work_identity(context)
        prefix = name_prefix(step, partition)
        params_digest = digest(params, identity=f"{step}|{partition}")
        number = 1
        while True:
            name = job_name(prefix, params_digest, number)
            description = self._find(kind, name)
            if description is None:
                return Attempt(name, adopted=False)
            if description[kind.job_status] == "Stopping":
                description = self._await_end(kind, name, _STOP_SECONDS)
            status = description[kind.job_status]
            if status == "InProgress":
                context.log.info(f"SageMaker {kind.name} job {name} is already running: adopted")
                return Attempt(name, adopted=True)
            if status == "Completed" and (adopt_completed is None or adopt_completed(description)):
                context.log.info(f"SageMaker {kind.name} job {name} has already completed: adopted")
                return Attempt(name, adopted=True)
            context.log.info(f"SageMaker {kind.name} job {name} is of no use ({status}); the next attempt is due")
            number += 1

    def run(
        self,
        kind: JobKind,
        attempt: Attempt,
        request: Mapping[str, Any],
        log: DagsterLogManager,
        time_limit: float | None = None,
    ) -> Description:
        """Create the job unless it is adopted, and follow it to its end.

        Args:
            kind: The job's kind.
            attempt: Which job.
            request: The complete request.
            log: Where its progress is told.
            time_limit: Seconds since its creation after which the job is stopped.

        Returns:
            The final description; its status is Completed.

        Raises:
            RequestValidationError: The request breaks limits of the service; nothing was sent.
            SageMakerJobError: The job failed, or was stopped by somebody or by the time limit.
        """
        validate(self.client, kind.operation("Create"), request)
        tail = LogTail(self._logs_client, kind, attempt.name, log)
        # The creation too: an interruption after AWS took the request must not leave a job behind.
        try:
            if not attempt.adopted:
                self._create(kind, request, log)
            return self._follow(kind, attempt.name, tail, log, time_limit)
        except DagsterExecutionInterruptedError:
            if self._forward_termination:
                log.warning(f"The run is interrupted: stopping the SageMaker {kind.name} job {attempt.name}")
                self.stop(kind, attempt.name)
                description = self._await_end(kind, attempt.name, _STOP_SECONDS)
                log.info(f"SageMaker {kind.name} job {attempt.name} ended as {description[kind.job_status]}")
            raise

    def stop(self, kind: JobKind, name: str) -> None:
        """Ask a job to stop; one that has ended, or never was, is left as it is."""
        try:
            getattr(self.client, kind.method("Stop"))(**{kind.job_name: name})
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise

    def _create(self, kind: JobKind, request: Mapping[str, Any], log: DagsterLogManager) -> None:
        name = request[kind.job_name]
        try:
            getattr(self.client, kind.method("Create"))(**request)
            log.info(f"SageMaker {kind.name} job {name} created")
        except ClientError as error:
            if not is_name_taken(error):
                raise
            log.info(f"SageMaker {kind.name} job {name} was created by somebody else: adopted")

    def _follow(
        self, kind: JobKind, name: str, tail: LogTail, log: DagsterLogManager, time_limit: float | None
    ) -> Description:
        status = note = ""
        while True:
            description = self._describe(kind, name)
            if description[kind.job_status] != status:
                status = description[kind.job_status]
                log.info(f"SageMaker {kind.name} job {name}: {status}")
            if status in TERMINAL_STATUSES:
                break
            tail.copy()
            if time_limit is not None and not note and _age_seconds(description) > time_limit:
                note = f"it ran longer than its limit of {time_limit:g} s"
                log.warning(f"Stopping the SageMaker {kind.name} job {name}: {note}")
                self.stop(kind, name)
            self._sleep()
        tail.drain(min(self._poll_interval, _DRAIN_SECONDS))
        if status != "Completed":
            raise SageMakerJobError(kind, name, description, list(tail.last_lines), note)
        return description

    def _find(self, kind: JobKind, name: str) -> Description | None:
        try:
            return self._describe(kind, name)
        except ClientError as error:
            # Describe has no code of its own for a job that does not exist.
            if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
                return None
            raise

    def _describe(self, kind: JobKind, name: str) -> Description:
        """Describe a job; minutes of throttling or a lost network are waited out, for the job goes on meanwhile."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                description: Description = getattr(self.client, kind.method("Describe"))(**{kind.job_name: name})
            except (ClientError, BotoConnectionError, HTTPClientError) as error:
                if not _is_passing(error) or time.monotonic() > give_up:
                    raise
                self._sleep()
            else:
                return description

    def _await_end(self, kind: JobKind, name: str, limit: float) -> Description:
        give_up = time.monotonic() + limit
        while True:
            description = self._describe(kind, name)
            if description[kind.job_status] in TERMINAL_STATUSES:
                return description
            if time.monotonic() > give_up:
                raise TimeoutError(f"SageMaker {kind.name} job {name} did not end within {limit:g} s of its stop")
            self._sleep()

    def _sleep(self) -> None:
        # Jitter: jobs that were created together are not described together.
        time.sleep(self._poll_interval * random.uniform(0.8, 1.2))  # noqa: S311  # not for cryptography


def work_identity(context: OpExecutionContext | AssetExecutionContext) -> tuple[str, str | None]:
    """The step and the partition (the first and last of several) that a context works on."""
    partition: str | None = None
    if context.has_partition_key:
        partition = context.partition_key
    elif context.has_partition_key_range:
        keys = context.partition_key_range
        partition = f"{keys.start}-{keys.end}"
    return context.op_execution_context.op.name, partition


def run_tags(context: OpExecutionContext | AssetExecutionContext) -> list[dict[str, str]]:
    """Tags that lead from a job to its run, in the characters that AWS allows."""
    step, partition = work_identity(context)
    tags = {"dagster/run_id": context.run.run_id, "dagster/step": step, "dagster/partition": partition or ""}
    return [{"Key": key, "Value": _tag_value(value)} for key, value in tags.items() if value]


def is_name_taken(error: ClientError) -> bool:
    """Whether a creation failed because the name exists; AWS has two ways to say so."""
    details = error.response["Error"]
    return details["Code"] == "ResourceInUse" or (
        details["Code"] == "ValidationException" and "already exist" in details.get("Message", "")
    )


def _tag_value(value: str) -> str:
    return "".join(c if is_tag_character(c) else "_" for c in value)[:_MAX_TAG_LENGTH]


def _age_seconds(description: Description) -> float:
    created: datetime = description["CreationTime"]
    return (datetime.now(UTC) - created).total_seconds()


def _is_passing(error: Exception) -> bool:
    if not isinstance(error, ClientError):
        return True
    details = error.response["Error"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "Throttl" in details["Code"] or details["Code"] == "TooManyRequestsException" or status >= 500
