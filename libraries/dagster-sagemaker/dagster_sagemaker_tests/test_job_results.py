from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from dagster_sagemaker.job_kinds import PROCESSING, TRAINING, TRANSFORM, JobKind
from dagster_sagemaker.job_results import SageMakerJobError, job_links, job_metadata

START = datetime(2016, 5, 23, 2, 0, tzinfo=UTC)


def described(kind: JobKind, **members: Any) -> dict[str, Any]:
    return {
        kind.job_name: "job-a1",
        kind.job_status: "Completed",
        kind.start_time: START,
        kind.end_time: START + timedelta(minutes=10),
        **members,
    }


@pytest.fixture
def aws_client() -> Any:
    """A client of the real service, which sends nothing here."""
    return boto3.client("sagemaker", "eu-west-1", aws_access_key_id="none", aws_secret_access_key="none")


def test_spot_training_is_billed_for_less_than_its_duration(aws_client: Any) -> None:
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2}
    description = described(TRAINING, ResourceConfig=resources, BillableTimeInSeconds=180)
    prices = {"ml.g5.xlarge": 1.408}
    metadata = job_metadata(TRAINING, description, adopted=False, client=aws_client, prices=prices)
    assert metadata["sagemaker/cost_estimate_usd"] == 0.1408
    assert metadata["sagemaker/duration_seconds"] == 600
    assert metadata["sagemaker/billable_seconds"] == 360
    assert metadata["sagemaker/instance_count"] == 2


@pytest.mark.parametrize(
    ("kind", "page"), [(PROCESSING, "processing-jobs"), (TRAINING, "jobs"), (TRANSFORM, "transform-jobs")]
)
def test_a_job_on_aws_has_links_to_its_page_and_its_log(aws_client: Any, kind: JobKind, page: str) -> None:
    metadata = job_metadata(kind, described(kind), adopted=False, client=aws_client)
    home = "https://eu-west-1.console.aws.amazon.com"
    assert metadata["sagemaker/console"].url == f"{home}/sagemaker/home?region=eu-west-1#/{page}/job-a1"
    assert metadata["sagemaker/log"].url == (
        f"{home}/cloudwatch/home?region=eu-west-1#logStream:group=/aws/sagemaker/{kind.title}Jobs;prefix=job-a1/;"
        "streamFilter=typeLogStreamPrefix"
    )


def test_what_a_job_does_not_tell_is_left_out(aws_client: Any) -> None:
    metadata = job_metadata(PROCESSING, described(PROCESSING), adopted=True, client=aws_client)
    assert "sagemaker/exit_message" not in metadata
    assert "sagemaker/model_artifact" not in metadata
    assert "sagemaker/cost_estimate_usd" not in metadata


def test_a_failure_says_why_and_where_to_look(aws_client: Any) -> None:
    description = {"TrainingJobStatus": "Failed", "FailureReason": "AlgorithmError: exit code 1", "ExitMessage": "oh"}
    error = SageMakerJobError(TRAINING, "job", description, ["last"], links=job_links(TRAINING, "job", aws_client))
    for part in ("Failed", "AlgorithmError: exit code 1", "exit message: oh", "#/jobs/job", "prefix=job/", "last"):
        assert part in str(error)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("Failed", "CapacityError: Unable to provision requested ML compute capacity", True),
        ("Failed", "InternalServerError: try again", True),
        ("Failed", "AlgorithmError: exit code 1", False),
        ("Failed", "ClientError: no such image", False),
        ("Stopped", "", False),
    ],
)
def test_what_another_attempt_may_mend_can_be_told(status: str, reason: str, expected: bool) -> None:
    error = SageMakerJobError(TRAINING, "job", {"TrainingJobStatus": status, "FailureReason": reason}, [])
    assert error.is_transient is expected
