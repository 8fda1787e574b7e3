import tarfile
from typing import Any

import dagster as dg
import pytest

from m5_assets.sagemaker import SageMakerTransformClient, TransformResult
from m5_assets_tests.sagemaker.conftest import ROLE, Lab
from m5_assets_tests.sagemaker.test_local_transform import SERVE, add
from m5_assets_tests.sagemaker.test_pipes_client import error_of


@pytest.fixture
def serving(lab: Lab) -> Lab:
    lab.image("serve", SERVE)
    lab.put("in/a.csv", "a")
    (lab.lake / "models").mkdir()
    with tarfile.open(lab.lake / "models/model.tar.gz", "w:gz") as tar:
        add(tar, "scale.txt", b"!")
    return lab


def score(lab: Lab, **options: Any) -> tuple[dg.ExecuteInProcessResult, list[TransformResult]]:
    client = SageMakerTransformClient(lab.sagemaker, logs_client=lab.logs, poll_interval=0.05, **options)
    results = []

    @dg.asset
    def predictions(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]  # no value
        result = client.run(
            context=context,
            create_model_params={
                "ExecutionRoleArn": ROLE,
                "PrimaryContainer": {"Image": "serve", "ModelDataUrl": "s3://lake/models/model.tar.gz"},
            },
            create_transform_job_params=lab.transform(),
        )
        results.append(result)
        return dg.MaterializeResult(metadata=result.metadata)

    return dg.materialize([predictions], raise_on_error=False), results


def test_a_transform_makes_its_model_and_is_done_once(serving: Lab) -> None:
    run, (first,) = score(serving)
    assert run.success
    (name,) = serving.jobs("transform")
    assert (serving.lake / "out" / name / "a.csv.out").read_text() == "A!"
    assert first.description["TransformJobStatus"] == "Completed"
    assert first.metadata["sagemaker/job_name"] == name
    assert serving.sagemaker.describe_model(ModelName=first.metadata["sagemaker/model_name"])
    _, (second,) = score(serving)
    assert second.metadata["sagemaker/adopted"] is True
    assert serving.jobs("transform") == [name]


def test_a_failed_transform_is_tried_again_with_the_same_model(serving: Lab) -> None:
    serving.put("in/a.csv", "bad")
    run, _ = score(serving)
    assert "1 of 1 objects failed" in error_of(run).message
    serving.put("in/a.csv", "good")
    run, (result,) = score(serving)
    assert run.success
    assert result.metadata["sagemaker/job_name"].endswith("-a2")


def test_the_time_limit_stops_the_job(serving: Lab) -> None:
    serving.put("in/a.csv", "slow")
    run, _ = score(serving, time_limit=0.5)
    assert "ended as Stopped; it ran longer than its limit of 0.5 s" in error_of(run).message
    (name,) = serving.jobs("transform")
    assert serving.describe("transform", name)["TransformJobStatus"] == "Stopped"
