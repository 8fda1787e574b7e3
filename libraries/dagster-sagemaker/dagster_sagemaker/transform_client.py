"""`SageMakerTransformClient`: Batch Transform jobs, each with its model.

The container of such a job is an inference server without Pipes, so the result is the job's description and the objects
that it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from dagster import AssetExecutionContext, OpExecutionContext

from dagster_sagemaker._dagster import TreatAsResourceParam
from dagster_sagemaker.job_api import Description, is_name_taken
from dagster_sagemaker.job_kinds import TRANSFORM
from dagster_sagemaker.job_lifecycle import (
    DEFAULT_PATIENCE_SECONDS,
    DEFAULT_POLL_SECONDS,
    AdoptCompleted,
    Following,
    JobLifecycle,
)
from dagster_sagemaker.job_names import digest, name_prefix, substitute_job_name
from dagster_sagemaker.job_results import Prices
from dagster_sagemaker.ownership import run_tags, work_identity
from dagster_sagemaker.patient_calls import PatientCalls
from dagster_sagemaker.validation import validate

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient


DEFAULT_TIME_LIMIT_SECONDS = 4 * 3600.0


@dataclass(frozen=True)
class TransformResult:
    """A completed Batch Transform job.

    Attributes:
        description: the final response of DescribeTransformJob.
        metadata: for the materialization: name, status, time, instances.
    """

    description: Description
    metadata: Mapping[str, Any]


class SageMakerTransformClient(TreatAsResourceParam):
    """Runs Batch Transform jobs, each with the model it needs.

    Job names and adoption work as in `PipesSageMakerClient`.

    Args:
        client: a boto3 SageMaker client, for AWS or from `LocalSageMaker`.
        logs_client: a boto3 CloudWatch Logs client to follow the job's log with.
        poll_interval: seconds between two polls of a job, plus up to a quarter more.
        patience: seconds of throttling or of a lost network that are waited out.
        prices: USD per instance hour by instance type, to estimate a job's cost.
        time_limit: seconds since its creation after which a job is stopped, because CreateTransformJob has no limit of
            its own. A cancelled run stops its job too.
    """

    def __init__(
        self,
        client: SageMakerClient,
        *,
        logs_client: CloudWatchLogsClient | None = None,
        poll_interval: float = DEFAULT_POLL_SECONDS,
        patience: float = DEFAULT_PATIENCE_SECONDS,
        prices: Prices | None = None,
        time_limit: float = DEFAULT_TIME_LIMIT_SECONDS,
    ):
        self._following = Following(client, logs_client, poll_interval, patience, prices=prices or {})
        self._time_limit = time_limit

    def run(
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext,
        create_model_params: Mapping[str, Any],
        create_transform_job_params: Mapping[str, Any],
        adopt_completed: AdoptCompleted | None = None,
    ) -> TransformResult:
        """Create the model unless it exists, and run the job or adopt the one that is doing or has done the same work.

        Args:
            context: the context of the step.
            create_model_params: the request of CreateModel without its name.
            create_transform_job_params: the request of CreateTransformJob without its name and its model's. In any
                string, `{job_name}` stands for the job's name.
            adopt_completed: called with the description of a completed job that did the same work; returns whether its
                results are still there. None means that they always are.

        Raises:
            RequestValidationError: a request breaks limits of the service.
            SageMakerJobError: the job failed or was stopped, by its time limit among others.
        """
        for member, params in (
            ("ModelName", create_model_params),
            ("ModelName", create_transform_job_params),
            (TRANSFORM.job_name, create_transform_job_params),
        ):
            if member in params:
                raise ValueError(f"{member} is derived from the work; do not give it")
        step, partition = work_identity(context)
        model_name = f"{name_prefix(step, partition)}-{digest(create_model_params)}"
        params = {**create_transform_job_params, "ModelName": model_name}
        lifecycle = JobLifecycle(self._following, TRANSFORM, context)
        attempt = lifecycle.find_attempt(params, adopt_completed)
        tags = run_tags(context)
        if not attempt.adopted:
            model = {
                **create_model_params,
                "ModelName": model_name,
                "Tags": [*create_model_params.get("Tags", ()), *tags],
            }
            self._ensure_model(model, lifecycle.calls)
        request = {
            **substitute_job_name(params, attempt.name),
            TRANSFORM.job_name: attempt.name,
            "Tags": [*params.get("Tags", ()), *tags],
        }
        description = lifecycle.run(attempt, request, self._time_limit)
        metadata = lifecycle.metadata(attempt, description)
        return TransformResult(description, {**metadata, "sagemaker/model_name": model_name})

    def _ensure_model(self, request: Mapping[str, Any], calls: PatientCalls) -> None:
        """Create the model; its name contains the hash of its request, so an existing one is the same."""
        validate(self._following.client, "CreateModel", request)
        try:
            calls(self._following.client.create_model, **request)
        except ClientError as error:
            if not is_name_taken(error):
                raise
