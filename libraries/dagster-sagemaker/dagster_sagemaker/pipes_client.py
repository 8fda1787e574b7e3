"""`PipesSageMakerClient`: Processing and Training jobs that report through Dagster Pipes.

Batch Transform has no Pipes: see `transform_client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetExecutionContext,
    OpExecutionContext,
    PipesClient,
    PipesClientCompletedInvocation,
    PipesSession,
    open_pipes_session,
)

from dagster_sagemaker._dagster import TreatAsResourceParam
from dagster_sagemaker.job_api import Description
from dagster_sagemaker.job_kinds import PROCESSING, TRAINING, JobKind
from dagster_sagemaker.job_lifecycle import (
    DEFAULT_PATIENCE_SECONDS,
    DEFAULT_POLL_SECONDS,
    AdoptCompleted,
    Following,
    JobLifecycle,
)
from dagster_sagemaker.job_names import substitute_job_name
from dagster_sagemaker.job_results import Prices
from dagster_sagemaker.ownership import run_tags
from dagster_sagemaker.pipes_channel import PipesChannel

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient


class PipesSageMakerInvocation(PipesClientCompletedInvocation):
    """A completed job: what it reported through Pipes, and what SageMaker says of it.

    Attributes:
        description: the final response of DescribeProcessingJob or DescribeTrainingJob.
    """

    def __init__(self, session: PipesSession, description: Description, metadata: Mapping[str, Any]):
        super().__init__(session, metadata)
        self.description = description


class PipesSageMakerClient(PipesClient, TreatAsResourceParam):
    """A Pipes client for SageMaker Processing and Training jobs.

    A job's name is derived from the step, the partition and the request, so the same work is done once: a running job
    is joined, a completed one is used, and after a failure the next attempt starts.

    A job on several instances reports from one of them: its program must open Pipes only where `current_host` in
    `resourceconfig.json` is the first of `hosts`, because all hosts would write to the same place.

    Args:
        client: a boto3 SageMaker client, for AWS (with botocore's own retries off, see
            `patient_calls.PatientCalls`) or from `LocalSageMaker`.
        channel: carries Pipes context and messages.
        logs_client: a boto3 CloudWatch Logs client; with it, the job's log is copied to standard output while the job
            runs, and a failure quotes its last lines.
        poll_interval: seconds between two polls of a job, plus up to a quarter more.
        patience: seconds of throttling or of a lost network that are waited out.
        forward_termination: whether a cancelled run stops its job and waits until it has stopped.
        prices: USD per instance hour by instance type, to estimate a job's cost.
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

    def run(  # type: ignore[override]  # as in dagster-aws: parameters are named after the boto3 call
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext,
        extras: Mapping[str, Any] | None = None,
        create_processing_job_params: Mapping[str, Any] | None = None,
        create_training_job_params: Mapping[str, Any] | None = None,
        adopt_completed: AdoptCompleted | None = None,
    ) -> PipesSageMakerInvocation:
        """Run a job, or adopt the one that is doing or has done the same work.

        Args:
            context: the context of the step.
            extras: the job's Pipes extras. They do not affect the job's name: what changes the work belongs in the
                request, in its environment or arguments.
            create_processing_job_params: the request of CreateProcessingJob without its name. In any string,
                `{job_name}` stands for the name.
            create_training_job_params: likewise for CreateTrainingJob. Give exactly one of the two.
            adopt_completed: called with the description of a completed job that did the same work; returns whether its
                results are still there. None means that they always are.

        Returns:
            The completed job.

        Raises:
            RequestValidationError: the request breaks limits of the service.
            SageMakerJobError: the job failed or was stopped.
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
        raise ValueError(f"{kind.job_name} is derived from the work; do not give it")
    return kind, params
