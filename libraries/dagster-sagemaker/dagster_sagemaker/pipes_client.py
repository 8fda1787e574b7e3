"""`PipesSageMakerClient`: Processing and Training jobs that report through Dagster Pipes.

Batch Transform is an inference server without Pipes: see `transform_client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, OpExecutionContext, PipesClient, open_pipes_session
from dagster._core.definitions.resource_annotation import TreatAsResourceParam
from dagster._core.pipes.client import PipesClientCompletedInvocation
from dagster._core.pipes.context import PipesSession

from dagster_sagemaker.channel import PipesChannel
from dagster_sagemaker.job_lifecycle import (
    DEFAULT_PATIENCE_SECONDS,
    DEFAULT_POLL_SECONDS,
    AdoptCompleted,
    Following,
    JobLifecycle,
)
from dagster_sagemaker.kinds import PROCESSING, TRAINING, JobKind
from dagster_sagemaker.naming import substitute_job_name
from dagster_sagemaker.ownership import run_tags
from dagster_sagemaker.results import Description, Prices

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient


class PipesSageMakerInvocation(PipesClientCompletedInvocation):
    """A completed job: what it reported through Pipes, and what SageMaker says of it.

    Attributes:
        description: The final response of DescribeProcessingJob or DescribeTrainingJob.
    """

    def __init__(self, session: PipesSession, description: Description, metadata: Mapping[str, Any]):
        super().__init__(session, metadata)
        self.description = description


class PipesSageMakerClient(PipesClient, TreatAsResourceParam):
    """A Pipes client for SageMaker Processing and Training jobs.

    The name of a job is made from the step, the partition and the request, so the same work is done once: a job that
    runs already is joined, one that completed is used, and after a failure the next attempt is made.

    A job on several instances reports from one of them: the program opens Pipes only where `current_host` of its
    `resourceconfig.json` is the first of `hosts`, because all write to the same place.

    Args:
        client: A boto3 SageMaker client, of AWS (with botocore's own retries off, see `calls.PatientCalls`) or of
            `LocalSageMaker`.
        channel: Where Pipes context and messages travel.
        logs_client: A boto3 CloudWatch Logs client; with it, the job's log is copied to the standard output while it
            runs, and a failure quotes its last lines.
        poll_interval: Seconds between two looks at a job, and up to a quarter more.
        patience: Seconds of throttling or of a lost network that are waited out.
        forward_termination: Whether a run that is cancelled stops its job and waits until it has stopped.
        prices: USD an hour by instance type, for the estimate of a job's cost.
    """

    def __init__(
        self,
        client: SageMakerClient,
        channel: PipesChannel,
        *,
        logs_client: CloudWatchLogsClient | None = None,
        poll_interval: float = DEFAULT_POLL_SECONDS,
        patience: float = DEFAULT_PATIENCE_SECONDS,
        forward_termination: bool = True,
        prices: Prices | None = None,
    ):
        self._following = Following(client, logs_client, poll_interval, patience, forward_termination, prices or {})
        self._channel = channel

    def run(  # type: ignore[override]  # as in all of dagster's clients: the boto call's parameters have a name
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext,
        extras: Mapping[str, Any] | None = None,
        create_processing_job_params: Mapping[str, Any] | None = None,
        create_training_job_params: Mapping[str, Any] | None = None,
        adopt_completed: AdoptCompleted | None = None,
    ) -> PipesSageMakerInvocation:
        """Run a job, or adopt the one that does or did the same work.

        Args:
            context: The context of the step.
            extras: What the job finds as Pipes extras. They do not count for the job's name: what changes the
                work belongs in the request, in its environment or arguments.
            create_processing_job_params: The request of CreateProcessingJob without its name. In any string,
                `{job_name}` stands for the name.
            create_training_job_params: The same of CreateTrainingJob. Exactly one of the two is given.
            adopt_completed: Called with the description of a completed job that did the same work; tells whether
                its results are still there. None: they always are.

        Returns:
            The completed job.

        Raises:
            RequestValidationError: The request breaks limits of the service.
            SageMakerJobError: The job failed or was stopped.
        """
        kind, params = _the_one(create_processing_job_params, create_training_job_params)
        lifecycle = JobLifecycle(self._following, kind, context)
        attempt = lifecycle.find_attempt(params, adopt_completed)
        with open_pipes_session(
            context=context,
            extras=dict(extras or {}),
            context_injector=self._channel.injector(attempt.name),
            message_reader=self._channel.reader(attempt.name),
        ) as session:
            request = {
                **substitute_job_name(params, attempt.name),
                kind.job_name: attempt.name,
                "Environment": {**params.get("Environment", {}), **session.get_bootstrap_env_vars()},
                "Tags": [*params.get("Tags", ()), *run_tags(context)],
            }
            description = lifecycle.run(attempt, request)
        return PipesSageMakerInvocation(session, description, lifecycle.metadata(attempt, description))


def _the_one(
    processing: Mapping[str, Any] | None, training: Mapping[str, Any] | None
) -> tuple[JobKind, Mapping[str, Any]]:
    given = [(kind, params) for kind, params in ((PROCESSING, processing), (TRAINING, training)) if params is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of create_processing_job_params and create_training_job_params")
    kind, params = given[0]
    if kind.job_name in params:
        raise ValueError(f"{kind.job_name} is made from the work; do not give it")
    return kind, params
