"""The life cycle of one job, the same for all three kinds: find, adopt or create, follow, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from dagster import AssetExecutionContext, DagsterExecutionInterruptedError, OpExecutionContext

from dagster_sagemaker._dagster import capture_interrupts
from dagster_sagemaker.job_api import Description, is_name_taken, job_api
from dagster_sagemaker.job_kinds import TERMINAL_STATUSES, JobKind
from dagster_sagemaker.job_logs import LogTail
from dagster_sagemaker.job_names import digest, job_name, name_prefix
from dagster_sagemaker.job_results import Prices, SageMakerJobError, job_links, job_metadata
from dagster_sagemaker.ownership import owner, run_tags, take_over, work_identity
from dagster_sagemaker.patient_calls import PatientCalls
from dagster_sagemaker.validation import validate

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

AdoptCompleted = Callable[[Description], bool]
"""Returns whether the results of a completed job with the same name can still be used."""

DEFAULT_POLL_SECONDS = 15.0
DEFAULT_PATIENCE_SECONDS = 900.0

_STOP_SECONDS = 900.0
_DRAIN_SECONDS = 5.0


@dataclass(frozen=True)
class Following:
    """How jobs are followed.

    Attributes:
        client: a boto3 SageMaker client.
        logs_client: a boto3 CloudWatch Logs client to follow the jobs' logs with; None to follow none.
        poll_interval: seconds between two polls of a job, plus up to a quarter more.
        patience: seconds of throttling or of a lost network that are waited out.
        forward_termination: whether a cancelled run stops its job.
        prices: USD per instance hour by instance type, to estimate a job's cost.
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
        name: its name.
        adopted: whether it exists already, running or completed.
    """

    name: str
    adopted: bool


class JobLifecycle:
    """Finds, creates, follows and stops the job that does a step's work.

    Args:
        following: how jobs are followed.
        kind: the job's kind.
        context: the context of the step.

    Attributes:
        calls: makes the calls, with patience.
    """

    def __init__(self, following: Following, kind: JobKind, context: OpExecutionContext | AssetExecutionContext):
        self._following = following
        self._kind = kind
        self._context = context
        self._log = context.log
        self.calls = PatientCalls(context.log, interval=following.poll_interval, patience=following.patience)
        self._api = job_api(kind, following.client, self.calls)

    def find_attempt(self, params: Mapping[str, Any], adopt_completed: AdoptCompleted | None) -> Attempt:
        """Return the attempt of this work that is due.

        A running job is adopted, and so is a completed one unless its results are gone. After a job that failed or was
        stopped, the next attempt is due.

        Args:
            params: the request without a name, placeholders unresolved.
            adopt_completed: decides whether a completed job is still of use; None for always.
        """
        step, partition = work_identity(self._context)
        prefix = name_prefix(step, partition)
        params_digest = digest(params, identity=f"{step}|{partition}")
        number = 1
        while True:
            name = job_name(prefix, params_digest, number)
            description = self._api.find(name)
            if description is None:
                return Attempt(name, adopted=False)
            if description[self._kind.job_status] == "Stopping":
                description = self._await_end(name)
            status = description[self._kind.job_status]
            if status == "InProgress":
                self._log.info(f"SageMaker {self._kind.name} job {name} is already running: adopted")
                take_over(self._api, description[self._kind.job_arn], run_tags(self._context))
                return Attempt(name, adopted=True)
            if status == "Completed" and (adopt_completed is None or adopt_completed(description)):
                self._log.info(f"SageMaker {self._kind.name} job {name} has already completed: adopted")
                return Attempt(name, adopted=True)
            self._log.info(f"SageMaker {self._kind.name} job {name} cannot be used ({status}): next attempt")
            number += 1

    def run(self, attempt: Attempt, request: Mapping[str, Any], time_limit: float | None = None) -> Description:
        """Create the job unless it is adopted, and follow it to its end.

        Args:
            attempt: the job.
            request: the complete request.
            time_limit: seconds since its creation after which the job is stopped.

        Returns:
            The final description; its status is Completed.

        Raises:
            RequestValidationError: the request breaks limits of the service; nothing was sent.
            SageMakerJobError: the job failed, or was stopped by somebody or by the time limit.
            TimeoutError: the job did not end long after it was asked to stop.
        """
        validate(self._following.client, self._kind.operation("Create"), request)
        # The creation is inside, because an interruption after AWS took the request must not leave a job behind.
        try:
            if not attempt.adopted:
                self._create(request)
            return self._follow(attempt.name, time_limit)
        except DagsterExecutionInterruptedError:
            if self._following.forward_termination:
                with capture_interrupts():
                    self._cancel(attempt.name)
            raise

    def metadata(self, attempt: Attempt, description: Description) -> dict[str, Any]:
        """Return what a materialization shows of the job."""
        return job_metadata(
            self._kind,
            description,
            adopted=attempt.adopted,
            client=self._following.client,
            prices=self._following.prices,
            describe_calls=sum(n for method, n in self.calls.made.items() if method.startswith("describe_")),
        )

    def _create(self, request: Mapping[str, Any]) -> None:
        name = request[self._kind.job_name]
        try:
            self._api.create(request)
            self._log.info(f"SageMaker {self._kind.name} job {name} created")
        except ClientError as error:
            if not is_name_taken(error):
                raise
            # Created by another run at the same moment, or by an earlier try of ours whose response was lost.
            self._log.info(f"SageMaker {self._kind.name} job {name} exists already: adopted")
            description = self._api.describe(name)
            take_over(self._api, description[self._kind.job_arn], run_tags(self._context))

    def _follow(self, name: str, time_limit: float | None) -> Description:
        tail = LogTail(self._following.logs_client, self._kind, name, self._log)
        shown = note = ""
        give_up: float | None = None
        created: float | None = None  # by a clock that no step of the system's clock changes
        while True:
            description = self._api.describe(name)
            if created is None:
                created = time.monotonic() - _age_seconds(description)
            if (now := _progress(self._kind, description)) != shown:
                shown = now
                self._log.info(f"SageMaker {self._kind.name} job {name}: {shown}")
            if description[self._kind.job_status] in TERMINAL_STATUSES:
                break
            tail.copy()
            if time_limit is not None and give_up is None and time.monotonic() - created > time_limit:
                note = f"it ran longer than its limit of {time_limit:g} s"
                self._log.warning(f"Stopping the SageMaker {self._kind.name} job {name}: {note}")
                self._api.stop(name)
                give_up = time.monotonic() + _STOP_SECONDS
            self._wait(name, give_up)
        tail.drain(min(self._following.poll_interval, _DRAIN_SECONDS))
        # Stopped is a failure: the outputs are missing or partial.
        if description[self._kind.job_status] != "Completed":
            links = job_links(self._kind, name, self._following.client)
            raise SageMakerJobError(self._kind, name, description, list(tail.last_lines), note, links)
        return description

    def _cancel(self, name: str) -> None:
        """Stop the job of an interrupted run and wait for its end, unless another run follows it now."""
        description = self._api.find(name)
        if description is None or description[self._kind.job_status] in TERMINAL_STATUSES:
            return
        if owner(self._api, description[self._kind.job_arn]) not in (None, self._context.run.run_id):
            self._log.warning(f"The run is interrupted, but another run follows the job {name}: it is left running")
            return
        self._log.warning(f"The run is interrupted: stopping the SageMaker {self._kind.name} job {name}")
        self._api.stop(name)
        description = self._await_end(name)
        self._log.info(f"SageMaker {self._kind.name} job {name} ended as {description[self._kind.job_status]}")

    def _await_end(self, name: str) -> Description:
        give_up = time.monotonic() + _STOP_SECONDS
        while True:
            description = self._api.describe(name)
            if description[self._kind.job_status] in TERMINAL_STATUSES:
                return description
            self._wait(name, give_up)

    def _wait(self, name: str, give_up: float | None) -> None:
        if give_up is not None and time.monotonic() > give_up:
            raise TimeoutError(
                f"SageMaker {self._kind.name} job {name} did not end within {_STOP_SECONDS:g} s after it was asked to "
                "stop; check it in the AWS console, because it may still cost money"
            )
        self.calls.pause()


def _progress(kind: JobKind, description: Description) -> str:
    status: str = description[kind.job_status]
    secondary = description.get("SecondaryStatus", status)
    return status if secondary == status else f"{status}, {secondary}"


def _age_seconds(description: Description) -> float:
    created: datetime = description["CreationTime"]
    return max((datetime.now(UTC) - created).total_seconds(), 0.0)
