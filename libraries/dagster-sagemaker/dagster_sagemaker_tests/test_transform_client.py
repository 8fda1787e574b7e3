import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_sagemaker import SageMakerTransformClient, TransformResult
from dagster_sagemaker.ownership import RUN_TAG

from dagster_sagemaker_tests.conftest import ROLE, Lab, eventually
from dagster_sagemaker_tests.test_local_transform import SERVE, add
from dagster_sagemaker_tests.test_pipes_client import error_of


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


@pytest.fixture
def gated(serving: Lab) -> Lab:
    """A server that answers once the file `gate` is gone."""
    gate = serving.root / "gate"
    gate.touch()
    wait = f"        while os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
    first = '        if body.startswith(b"bad")'
    serving.image("serve", SERVE.replace(first, wait + first))
    return serving


def start_scoring(lab: Lab) -> tuple[subprocess.Popen[bytes], str]:
    """Another process that runs the transform; its job's name, once its server was asked."""
    code = "; ".join(
        (
            "from pathlib import Path",
            "from dagster_sagemaker_tests import conftest, test_transform_client as tests",
            f"lab = conftest.Lab(Path({str(lab.root)!r}))",
            f"lab.images.update({lab.images!r})",
            "tests.score(lab)",
        )
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    (name,) = eventually(lambda: lab.jobs("transform"))
    eventually(lambda: any(line.startswith("post") for line in lab.log("transform", name)))
    return process, name


def follower(lab: Lab, name: str) -> str:
    """The run that follows a transform."""
    arn = lab.describe("transform", name)["TransformJobArn"]
    return next(t["Value"] for t in lab.sagemaker.list_tags(ResourceArn=arn)["Tags"] if t["Key"] == RUN_TAG)


def test_a_transform_is_joined_after_its_orchestrator_was_killed(gated: Lab) -> None:
    process, name = start_scoring(gated)
    process.kill()
    process.wait()
    first_run = follower(gated, name)

    def open_gate_when_adopted() -> None:
        eventually(lambda: follower(gated, name) != first_run)
        (gated.root / "gate").unlink()

    opener = threading.Thread(target=open_gate_when_adopted)
    opener.start()
    run, (result,) = score(gated)
    opener.join()
    assert run.success
    assert gated.jobs("transform") == [name]
    assert result.metadata["sagemaker/adopted"] is True
    assert (gated.lake / "out" / name / "a.csv.out").read_text() == "A!"


def test_a_cancelled_run_stops_its_transform(gated: Lab) -> None:
    process, name = start_scoring(gated)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert gated.describe("transform", name)["TransformJobStatus"] == "Stopped"
    assert not (gated.lake / "out").exists()
