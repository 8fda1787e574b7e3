from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from m5_assets.sagemaker.kinds import PROCESSING, TRAINING, TRANSFORM, JobKind
from m5_assets.sagemaker.results import job_metadata

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
    metadata = job_metadata(TRAINING, description, adopted=False, client=aws_client)
    assert metadata["sagemaker/duration_seconds"] == 600
    assert metadata["sagemaker/billable_seconds"] == 360
    assert metadata["sagemaker/instance_count"] == 2


@pytest.mark.parametrize(
    ("kind", "page"), [(PROCESSING, "processing-jobs"), (TRAINING, "jobs"), (TRANSFORM, "transform-jobs")]
)
def test_a_job_on_aws_has_a_console_link(aws_client: Any, kind: JobKind, page: str) -> None:
    metadata = job_metadata(kind, described(kind), adopted=False, client=aws_client)
    assert metadata["sagemaker/console"].url == (
        f"https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/{page}/job-a1"
    )


def test_what_a_job_does_not_tell_is_left_out(aws_client: Any) -> None:
    metadata = job_metadata(PROCESSING, described(PROCESSING), adopted=True, client=aws_client)
    assert "sagemaker/exit_message" not in metadata
    assert "sagemaker/model_artifact" not in metadata
