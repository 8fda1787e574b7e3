"""The calls that SageMaker offers for jobs, spelled out per kind so that a type checker sees every boto3 call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from botocore.exceptions import ClientError

from dagster_sagemaker.job_kinds import PROCESSING, TRAINING, TRANSFORM, JobKind
from dagster_sagemaker.patient_calls import PatientCalls

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import TagTypeDef

Description = Mapping[str, Any]
"""The response of a Describe operation."""

# Describe and Stop have no error code of their own for a job that does not exist.
_UNKNOWN_JOB_CODES = ("ValidationException", "ResourceNotFound")


@dataclass(frozen=True)
class RunningJob:
    """A job as the List operations name it.

    Attributes:
        name: the job's name.
        arn: its ARN.
    """

    name: str
    arn: str


class _RunningRequest(TypedDict, total=False):
    """The request of a List operation for running jobs, in the order of their creation."""

    StatusEquals: Literal["InProgress"]
    SortBy: Literal["CreationTime"]
    SortOrder: Literal["Ascending"]
    NextToken: str


class JobApi(ABC):
    """The calls for one kind of job, each with patience.

    Args:
        client: a boto3 SageMaker client.
        calls: how calls are made.

    Attributes:
        kind: the kind.
    """

    kind: JobKind

    def __init__(self, client: SageMakerClient, calls: PatientCalls):
        self._client = client
        self._calls = calls

    @abstractmethod
    def create(self, request: Mapping[str, Any]) -> None:
        """Create a job.

        Args:
            request: the complete request.
        """

    @abstractmethod
    def describe(self, name: str) -> Description:
        """Return the description of a job.

        Raises:
            ClientError: no job has this name, among other reasons.
        """

    @abstractmethod
    def _stop(self, name: str) -> None: ...

    @abstractmethod
    def _running_page(self, request: _RunningRequest) -> tuple[list[RunningJob], str]:
        """Return a page of the running jobs, and the token of the next page; empty after the last."""

    def find(self, name: str) -> Description | None:
        """Return the description of a job, or None if no job has this name."""
        try:
            return self.describe(name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _UNKNOWN_JOB_CODES:
                return None
            raise

    def stop(self, name: str) -> None:
        """Ask a job to stop; a job that has ended or never existed is left alone."""
        try:
            self._stop(name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _UNKNOWN_JOB_CODES:
                raise

    def running(self) -> Iterator[RunningJob]:
        """Yield the running jobs in the order of their creation."""
        request = _RunningRequest(StatusEquals="InProgress", SortBy="CreationTime", SortOrder="Ascending")
        while True:
            jobs, token = self._running_page(request)
            yield from jobs
            if not token:
                return
            request["NextToken"] = token

    def add_tags(self, arn: str, tags: Sequence[TagTypeDef]) -> None:
        """Add tags to a job; they replace tags with the same keys."""
        self._calls(self._client.add_tags, ResourceArn=arn, Tags=tags)

    def tags(self, arn: str) -> Iterator[TagTypeDef]:
        """Yield the tags of a job."""
        page = self._calls(self._client.list_tags, ResourceArn=arn)
        yield from page["Tags"]
        while token := page.get("NextToken"):
            page = self._calls(self._client.list_tags, ResourceArn=arn, NextToken=token)
            yield from page["Tags"]


class _ProcessingApi(JobApi):
    kind = PROCESSING

    def create(self, request: Mapping[str, Any]) -> None:
        self._calls(self._client.create_processing_job, **request)

    def describe(self, name: str) -> Description:
        return self._calls(self._client.describe_processing_job, ProcessingJobName=name)

    def _stop(self, name: str) -> None:
        self._calls(self._client.stop_processing_job, ProcessingJobName=name)

    def _running_page(self, request: _RunningRequest) -> tuple[list[RunningJob], str]:
        page = self._calls(self._client.list_processing_jobs, **request)
        jobs = [RunningJob(job["ProcessingJobName"], job["ProcessingJobArn"]) for job in page["ProcessingJobSummaries"]]
        return jobs, page.get("NextToken", "")


class _TrainingApi(JobApi):
    kind = TRAINING

    def create(self, request: Mapping[str, Any]) -> None:
        self._calls(self._client.create_training_job, **request)

    def describe(self, name: str) -> Description:
        return self._calls(self._client.describe_training_job, TrainingJobName=name)

    def _stop(self, name: str) -> None:
        self._calls(self._client.stop_training_job, TrainingJobName=name)

    def _running_page(self, request: _RunningRequest) -> tuple[list[RunningJob], str]:
        page = self._calls(self._client.list_training_jobs, **request)
        jobs = [RunningJob(job["TrainingJobName"], job["TrainingJobArn"]) for job in page["TrainingJobSummaries"]]
        return jobs, page.get("NextToken", "")


class _TransformApi(JobApi):
    kind = TRANSFORM

    def create(self, request: Mapping[str, Any]) -> None:
        self._calls(self._client.create_transform_job, **request)

    def describe(self, name: str) -> Description:
        return self._calls(self._client.describe_transform_job, TransformJobName=name)

    def _stop(self, name: str) -> None:
        self._calls(self._client.stop_transform_job, TransformJobName=name)

    def _running_page(self, request: _RunningRequest) -> tuple[list[RunningJob], str]:
        page = self._calls(self._client.list_transform_jobs, **request)
        jobs = [RunningJob(job["TransformJobName"], job["TransformJobArn"]) for job in page["TransformJobSummaries"]]
        return jobs, page.get("NextToken", "")


_APIS: Mapping[JobKind, type[JobApi]] = {api.kind: api for api in (_ProcessingApi, _TrainingApi, _TransformApi)}


def job_api(kind: JobKind, client: SageMakerClient, calls: PatientCalls) -> JobApi:
    """Return the calls for a kind of job."""
    return _APIS[kind](client, calls)


def is_name_taken(error: ClientError) -> bool:
    """Return whether a creation failed because the name exists; AWS has two ways to say so."""
    details = error.response["Error"]
    return details["Code"] == "ResourceInUse" or (
        details["Code"] == "ValidationException" and "already exist" in details.get("Message", "")
    )
