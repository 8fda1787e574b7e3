import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker import (
    LocalPipesChannel,
    PipesSageMakerClient,
    RequestValidationError,
)
from dagster_sagemaker.ownership import RUN_TAG
from dagster_sagemaker.testing import CallEvent, CallFault, Faults

from dagster_sagemaker_tests.conftest import Lab, eventually

REPORT = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    print("week", pipes.partition_key)
    out = base / "processing/out"
    out.mkdir(parents=True, exist_ok=True)
    (out / "rows.txt").write_text("3")
    (base / "model").mkdir(exist_ok=True)
    (base / "model/weights").write_text("w")
    pipes.log.info("from inside")
    pipes.report_asset_materialization(metadata={"rows": 3, "extra": pipes.get_extra("scale")})
"""
PARTITIONS = dg.StaticPartitionsDefinition(["2016-04-18", "2016-05-16"])


def pipes_client(lab: Lab, **options: Any) -> PipesSageMakerClient:
    channel = LocalPipesChannel(lab.root / "pipes")
    return PipesSageMakerClient(lab.sagemaker, channel, logs_client=lab.logs, poll_interval=0.05, **options)


def materialize(
    client: PipesSageMakerClient, params: dict[str, Any]
) -> tuple[dg.ExecuteInProcessResult, list[dict[str, Any]]]:
    """Materialize one week of an asset that runs one job; the result and the descriptions of its job."""
    descriptions = []

    @dg.asset(partitions_def=PARTITIONS, key=["demand", "features"])
    def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]  # no value
        invocation = client.run(context=context, extras={"scale": 2}, **params)
        descriptions.append(dict(invocation.description))
        return invocation.get_materialize_result()

    result = dg.materialize([features], partition_key="2016-04-18", raise_on_error=False)
    return result, descriptions


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {key: value.value for key, value in event.materialization.metadata.items()}


def error_of(result: dg.ExecuteInProcessResult) -> Any:
    (event,) = result.get_step_failure_events()
    error = event.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    return error.cause


def tags_of(lab: Lab, name: str) -> dict[str, str]:
    """The tags of a Processing job."""
    arn = lab.describe("processing", name)["ProcessingJobArn"]
    return {tag["Key"]: tag["Value"] for tag in lab.sagemaker.list_tags(ResourceArn=arn)["Tags"]}


@pytest.fixture
def reporting(lab: Lab) -> Lab:
    lab.put("in/a.txt", "a")
    lab.image("report", REPORT)
    return lab


def test_a_processing_job_materializes_an_asset(reporting: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    params = {"create_processing_job_params": reporting.processing("report")}
    result, (description,) = materialize(pipes_client(reporting, prices={"ml.m5.large": 0.115}), params)
    assert result.success
    (name,) = reporting.jobs("processing")
    assert name.startswith("demand-features-2016-04-18-")
    assert name.endswith("-a1")
    assert (reporting.lake / "out" / name / "rows.txt").read_text() == "3"
    assert description["ProcessingJobStatus"] == "Completed"
    metadata = metadata_of(result)
    assert metadata["rows"] == 3
    assert metadata["extra"] == 2
    assert metadata["sagemaker/job_name"] == name
    assert metadata["sagemaker/instance_type"] == "ml.m5.large"
    assert metadata["sagemaker/adopted"] is False
    assert metadata["sagemaker/billable_seconds"] > 0
    assert metadata["sagemaker/cost_estimate_usd"] == round(metadata["sagemaker/billable_seconds"] / 3600 * 0.115, 4)
    assert metadata["sagemaker/describe_calls"] >= 2
    assert "sagemaker/console" not in metadata
    assert "week 2016-04-18\n" in capfd.readouterr().out
    assert tags_of(reporting, name) == {
        "dagster/run_id": result.run_id,
        "dagster/step": "demand__features",
        "dagster/partition": "2016-04-18",
    }


def test_a_training_job_materializes_an_asset(reporting: Lab) -> None:
    params = {"create_training_job_params": reporting.training("report")}
    result, _ = materialize(pipes_client(reporting), params)
    assert result.success
    (name,) = reporting.jobs("training")
    assert metadata_of(result)["sagemaker/model_artifact"] == f"s3://lake/models/{name}/output/model.tar.gz"


def test_the_same_work_is_done_once_and_its_messages_are_read_again(reporting: Lab) -> None:
    params = {"create_processing_job_params": reporting.processing("report")}
    first, _ = materialize(pipes_client(reporting), params)
    reporting.sagemaker, reporting.logs = reporting.new_clients()
    second, _ = materialize(pipes_client(reporting), params)
    assert second.success
    assert len(reporting.jobs("processing")) == 1
    assert metadata_of(second)["rows"] == 3
    assert metadata_of(second)["sagemaker/adopted"] is True
    assert metadata_of(first)["sagemaker/job_name"] == metadata_of(second)["sagemaker/job_name"]


def test_other_work_is_another_job(reporting: Lab) -> None:
    for value in ("1", "2"):
        params = {"create_processing_job_params": reporting.processing("report", Environment={"SEED": value})}
        assert materialize(pipes_client(reporting), params)[0].success
    assert len(reporting.jobs("processing")) == 2


def test_a_completed_job_whose_outputs_are_gone_is_done_again(reporting: Lab) -> None:
    seen = []

    def usable(description: Any) -> bool:
        seen.append(description["ProcessingJobName"])
        return False

    params = {"create_processing_job_params": reporting.processing("report"), "adopt_completed": usable}
    materialize(pipes_client(reporting), params)
    result, _ = materialize(pipes_client(reporting), params)
    assert result.success
    first, second = reporting.jobs("processing")
    assert (first[-3:], second[-3:]) == ("-a1", "-a2")
    assert seen == [first]


def test_a_failure_tells_its_reason_and_the_next_try_is_the_next_attempt(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image(
        "fail", '(base / "output/message").write_text("price below zero"); print("the last line"); sys.exit(1)'
    )
    params = {"create_processing_job_params": lab.processing(image)}
    for _ in range(2):
        result, _ = materialize(pipes_client(lab), params)
        assert not result.success
        error = error_of(result)
        assert error.cls_name == "SageMakerJobError"
        assert "the container exited with code 1" in error.message
        assert "exit message: price below zero" in error.message
        assert "the last line" in error.message
    assert [name[-3:] for name in lab.jobs("processing")] == ["-a1", "-a2"]


def test_a_stopped_job_is_a_failure(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image("wait", "time.sleep(600)")
    request = lab.processing(image, StoppingCondition={"MaxRuntimeInSeconds": 1})
    result, _ = materialize(pipes_client(lab), {"create_processing_job_params": request})
    assert not result.success
    assert "ended as Stopped; MaxRuntimeExceeded" in error_of(result).message


def test_an_invalid_request_creates_nothing(lab: Lab) -> None:
    request = lab.processing("report", Environment={"KEY": "v" * 300})
    result, _ = materialize(pipes_client(lab), {"create_processing_job_params": request})
    assert error_of(result).cls_name == RequestValidationError.__name__
    assert lab.jobs("processing") == []


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "exactly one"),
        ({"create_processing_job_params": {}, "create_training_job_params": {}}, "exactly one"),
        ({"create_processing_job_params": {"ProcessingJobName": "mine"}}, "do not give it"),
    ],
)
def test_misuse_is_explained(lab: Lab, params: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        pipes_client(lab).run(context=cast("dg.OpExecutionContext", dg.build_op_context()), **params)


def test_a_running_job_is_joined_after_its_orchestrator_was_killed(reporting: Lab) -> None:
    gate = reporting.root / "gate"
    gate.touch()
    waiting = f"print('waiting')\nwhile os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
    reporting.image("report", waiting + REPORT)
    process = start_orchestrator(reporting)
    (name,) = eventually(lambda: reporting.jobs("processing"))
    reporting.await_log("processing", name, "waiting")
    process.kill()
    process.wait()
    first_run = tags_of(reporting, name)[RUN_TAG]

    def open_gate_when_adopted() -> None:
        eventually(lambda: tags_of(reporting, name)[RUN_TAG] != first_run)
        gate.unlink()

    opener = threading.Thread(target=open_gate_when_adopted)
    opener.start()
    params = {"create_processing_job_params": reporting.processing("report")}
    result, _ = materialize(pipes_client(reporting), params)
    opener.join()
    assert result.success
    assert reporting.jobs("processing") == [name]
    assert metadata_of(result)["rows"] == 3
    assert tags_of(reporting, name)["dagster/run_id"] == result.run_id


def test_a_cancelled_run_stops_its_job(reporting: Lab) -> None:
    reporting.image("report", "print('waiting'); time.sleep(600)")
    process = start_orchestrator(reporting)
    (name,) = eventually(lambda: reporting.jobs("processing"))
    reporting.await_log("processing", name, "waiting")
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert reporting.describe("processing", name)["ProcessingJobStatus"] == "Stopped"


def test_a_run_that_is_interrupted_again_and_again_stops_its_job(reporting: Lab) -> None:
    """Ctrl-C reaches a step twice: from the terminal, and from the executor."""
    reporting.image("report", "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('waiting'); time.sleep(2)")
    process = start_orchestrator(reporting)
    (name,) = eventually(lambda: reporting.jobs("processing"))
    reporting.await_log("processing", name, "waiting")
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert reporting.describe("processing", name)["ProcessingJobStatus"] == "Stopped"


def test_a_cancelled_run_leaves_a_job_that_another_run_follows(reporting: Lab) -> None:
    reporting.image("report", "print('waiting'); time.sleep(600)")
    process = start_orchestrator(reporting)
    (name,) = eventually(lambda: reporting.jobs("processing"))
    reporting.await_log("processing", name, "waiting")
    arn = reporting.describe("processing", name)["ProcessingJobArn"]
    reporting.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": RUN_TAG, "Value": "another run"}])
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert reporting.describe("processing", name)["ProcessingJobStatus"] == "InProgress"


def start_orchestrator(lab: Lab) -> subprocess.Popen[bytes]:
    """Another process that materializes the asset of these tests."""
    code = "; ".join(
        (
            "from pathlib import Path",
            "from dagster_sagemaker_tests import conftest, test_pipes_client as tests",
            f"lab = conftest.Lab(Path({str(lab.root)!r}))",
            f"lab.images.update({lab.images!r})",
            "params = {'create_processing_job_params': lab.processing('report')}",
            "tests.materialize(tests.pipes_client(lab), params)",
        )
    )
    # From the folder above the tests, so that they can be imported wherever pytest was started.
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])


@pytest.mark.parametrize(
    ("event", "operation"),
    [
        ("throttling", "*"),
        ("unavailable", "Describe*"),
        ("lost-request", "*"),
        ("lost-response", "Create*"),
        ("lost-response", "*"),
    ],
)
def test_throttling_and_a_lost_network_are_waited_out(reporting: Lab, event: CallEvent, operation: str) -> None:
    faults = Faults(reporting.root / "home")
    faults.inject(CallFault(event, operation=operation, times=6, probability=0.7))
    result, _ = materialize(pipes_client(reporting), {"create_processing_job_params": reporting.processing("report")})
    fired = len(faults.fired())
    faults.clear()
    assert result.success
    assert fired > 0
    assert metadata_of(result)["rows"] == 3
    assert len(reporting.jobs("processing")) == 1


def test_a_log_that_cannot_be_read_does_not_fail_the_job(reporting: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def denied(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeLogStreams")

    monkeypatch.setattr(reporting.logs, "get_paginator", denied)
    params = {"create_processing_job_params": reporting.processing("report")}
    assert materialize(pipes_client(reporting), params)[0].success
    assert calls == [1]


def test_two_at_the_same_time_share_one_job(reporting: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    boto = reporting.sagemaker
    create = boto.create_processing_job

    def create_second(**request: Any) -> Any:
        create(**request)
        return create(**request)

    monkeypatch.setattr(boto, "create_processing_job", create_second)
    result, _ = materialize(pipes_client(reporting), {"create_processing_job_params": reporting.processing("report")})
    assert result.success
    assert len(reporting.jobs("processing")) == 1
