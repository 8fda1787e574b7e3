"""A smoke test on a real AWS account: `pytest -m aws`. Not part of any other run; see README.md."""

import os
import time

import boto3
import dagster as dg
import pytest
from botocore.config import Config
from dagster_sagemaker import PipesSageMakerClient, S3PipesChannel

from dagster_sagemaker_tests.test_pipes_client import error_of, metadata_of

pytestmark = pytest.mark.aws

# Each argument of a container may have 256 characters.
PROGRAM = """import boto3
from dagster_pipes import *
c = boto3.client('s3')
with open_dagster_pipes(context_loader=PipesS3ContextLoader(c), message_writer=PipesS3MessageWriter(c)) as p:
    p.report_asset_materialization(metadata={'rows': 3})
"""


def needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"set {name}; README.md says what it holds")
    return value


def run(program: str, **stopping: int) -> dg.ExecuteInProcessResult:
    """Run a Processing job of the smallest instance, with a new name in every test session."""
    once = Config(retries={"total_max_attempts": 1})
    channel = S3PipesChannel(boto3.client("s3"), needed("SAGEMAKER_SMOKE_BUCKET"), "pipes-smoke")
    client = PipesSageMakerClient(
        boto3.client("sagemaker", config=once), channel, logs_client=boto3.client("logs"), prices={"ml.t3.medium": 0.05}
    )

    @dg.asset(name="smoke")
    def smoke(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]  # no value
        params = {
            "RoleArn": needed("SAGEMAKER_SMOKE_ROLE_ARN"),
            "AppSpecification": {
                "ImageUri": needed("SAGEMAKER_SMOKE_IMAGE"),
                "ContainerEntrypoint": ["python", "-c", program],
            },
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.t3.medium", "VolumeSizeInGB": 10}
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": stopping.get("limit", 600)},
            "Environment": {"SESSION": SESSION},
        }
        return client.run(context=context, create_processing_job_params=params).get_materialize_result()

    return dg.materialize([smoke], raise_on_error=False)


SESSION = str(int(time.time()))


def test_a_job_reports_is_followed_and_is_adopted() -> None:
    first = metadata_of(run(PROGRAM))
    assert first["rows"] == 3
    assert first["sagemaker/cost_estimate_usd"] > 0
    assert first["sagemaker/console"].startswith("https://")
    second = metadata_of(run(PROGRAM))
    assert second["rows"] == 3
    assert second["sagemaker/adopted"] is True
    assert second["sagemaker/job_name"] == first["sagemaker/job_name"]


def test_a_job_stopped_by_its_limit_is_a_failure() -> None:
    result = run("import time; time.sleep(900)", limit=60)
    assert not result.success
    assert "ended as Stopped" in error_of(result).message
