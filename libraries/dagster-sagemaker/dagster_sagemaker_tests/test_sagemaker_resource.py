"""`SageMakerResource`: assets get their clients from it, with the local runner and with AWS."""

import tarfile
from typing import Any

import dagster as dg
import pytest
from dagster_sagemaker import SageMakerResource
from pydantic import ValidationError

from dagster_sagemaker_tests.conftest import ROLE, Lab
from dagster_sagemaker_tests.test_local_transform import SERVE, add
from dagster_sagemaker_tests.test_pipes_client import REPORT, metadata_of


def local_resource(lab: Lab, **settings: Any) -> SageMakerResource:
    return SageMakerResource(
        mode="local",
        local_home=str(lab.root / "home"),
        local_buckets={"lake": str(lab.lake)},
        local_images=lab.images,
        local_stop_grace=1.0,
        poll_interval=0.05,
        **settings,
    )


def test_an_asset_runs_a_processing_job_through_it(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    request = lab.processing(lab.image("report", REPORT.replace("pipes.partition_key", "1")))

    @dg.asset
    def features(context: dg.AssetExecutionContext, sagemaker: SageMakerResource) -> dg.MaterializeResult:  # type: ignore[type-arg]  # no value
        client = sagemaker.get_pipes_client()
        run = client.run(context=context, extras={"scale": 2}, create_processing_job_params=request)
        return run.get_materialize_result()

    prices = {"ml.m5.large": 3600.0}
    result = dg.materialize([features], resources={"sagemaker": local_resource(lab, prices=prices)})
    metadata = metadata_of(result)
    assert metadata["rows"] == 3
    assert metadata["sagemaker/cost_estimate_usd"] > 0
    (name,) = lab.jobs("processing")
    assert metadata["sagemaker/job_name"] == name
    assert (lab.lake / "out" / name / "rows.txt").read_text() == "3"


def test_an_asset_runs_a_batch_transform_through_it(lab: Lab) -> None:
    lab.put("in/a.csv", "a")
    lab.image("serve", SERVE)
    (lab.lake / "models").mkdir()
    with tarfile.open(lab.lake / "models/model.tar.gz", "w:gz") as tar:
        add(tar, "scale.txt", b"!")
    model = {
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": "serve", "ModelDataUrl": "s3://lake/models/model.tar.gz"},
    }

    @dg.asset
    def predictions(context: dg.AssetExecutionContext, sagemaker: SageMakerResource) -> dg.MaterializeResult:  # type: ignore[type-arg]  # no value
        done = sagemaker.get_transform_client().run(
            context=context, create_model_params=model, create_transform_job_params=lab.transform()
        )
        return dg.MaterializeResult(metadata=done.metadata)

    result = dg.materialize([predictions], resources={"sagemaker": local_resource(lab)})
    name = metadata_of(result)["sagemaker/job_name"]
    assert (lab.lake / "out" / name / "a.csv.out").read_text() == "A!"


def test_on_aws_the_clients_are_boto3_s_and_retry_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    resource = SageMakerResource(region_name="eu-west-1", pipes_bucket="my-bucket")
    for client in (resource.get_client(), resource.get_logs_client()):
        assert client.meta.endpoint_url.endswith(".eu-west-1.amazonaws.com")
        retries: Any = client.meta.config
        assert retries.retries["total_max_attempts"] == 1
    assert resource.get_pipes_client()


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"region_name": "eu-west-1"}, "pipes_bucket"),
        ({"mode": "local", "local_buckets": {"lake": "/lake"}}, "local_home"),
    ],
)
def test_a_missing_setting_is_named(settings: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValueError, match=f"set {missing}"):
        SageMakerResource(**settings).get_pipes_client()


def test_there_are_two_modes() -> None:
    with pytest.raises(ValidationError, match="'aws' or 'local'"):
        SageMakerResource(mode="cloud")  # type: ignore[arg-type]  # the point of this test
