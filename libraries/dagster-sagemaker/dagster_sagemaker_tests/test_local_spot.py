"""Managed spot training, retries and checkpoints: one job over several attempts."""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker.job_kinds import TRAINING
from dagster_sagemaker.local.job import training
from dagster_sagemaker.local.job.job_run import JobRun
from dagster_sagemaker.testing import Faults, JobFault

from dagster_sagemaker_tests.conftest import Lab, eventually, stop

# Counts to 5 in its checkpoint, a step every 0.2 s, and says at SIGTERM that it had time for more.
STEPS = """
path = base / "checkpoints/step"
step = int(path.read_text()) if path.exists() else 0
print("begins at", step)
def leave(*_):
    (base / "checkpoints/last-words").write_text("saved in the grace period")
    sys.exit(1)
signal.signal(signal.SIGTERM, leave)
while step < 5:
    time.sleep(0.2)
    step += 1
    (base / "checkpoints/.step").write_text(str(step))
    (base / "checkpoints/.step").rename(path)
(base / "model/steps").write_text(str(step))
"""


@pytest.fixture
def spot(lab: Lab) -> Lab:
    lab.put("in/a.txt", "a")
    lab.image("steps", STEPS)
    return lab


def request(lab: Lab, **members: Any) -> dict[str, Any]:
    return lab.training(
        "steps",
        **{
            "EnableManagedSpotTraining": True,
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
            "CheckpointConfig": {"S3Uri": "s3://lake/checkpoints/work"},
            **members,
        },
    )


def stages(description: dict[str, Any]) -> list[str]:
    return [entry["Status"] for entry in description["SecondaryStatusTransitions"]]


def begins(lab: Lab) -> list[int]:
    return [int(line.split()[-1]) for line in lab.log("training", "job") if line.startswith("begins at")]


def test_an_interrupted_job_goes_on_from_its_checkpoints(spot: Lab) -> None:
    Faults(spot.root / "home").inject(JobFault("interruption", after=0.7, seconds=0.1))
    description = spot.run("training", "job", request(spot))
    assert description["TrainingJobStatus"] == "Completed"
    first, second = begins(spot)
    assert first == 0 < second
    assert stages(description) == [
        "Starting",
        "Downloading",
        "Training",
        "Interrupted",
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    times = [(entry["StartTime"], entry["EndTime"]) for entry in description["SecondaryStatusTransitions"]]
    assert all(end == start for (_, end), (start, _) in pairwise(times))
    assert (spot.lake / "checkpoints/work/last-words").read_text() == "saved in the grace period"
    assert description["BillableTimeInSeconds"] <= description["TrainingTimeInSeconds"]


def test_spot_is_billed_less(spot: Lab) -> None:
    spot.image("slow", "time.sleep(1.6)")
    specification = {"TrainingImage": "slow", "TrainingInputMode": "FastFile"}
    description = spot.run("training", "job", request(spot, AlgorithmSpecification=specification))
    assert 1 <= description["BillableTimeInSeconds"] < description["TrainingTimeInSeconds"]


def test_checkpoints_are_stored_while_the_job_runs(spot: Lab) -> None:
    spot.image("steps", STEPS.replace("step < 5", "True"))
    spot.create("training", "job", request(spot))
    stored = spot.lake / "checkpoints/work/step"
    eventually(stored.exists)
    assert spot.describe("training", "job")["SecondaryStatus"] == "Training"
    stop(spot.sagemaker, TRAINING, "job")
    assert spot.describe("training", "job")["SecondaryStatus"] in ("Stopping", "Stopped")
    description = spot.finish("training", "job")
    assert stages(description)[-2:] == ["Stopping", "Stopped"]


def test_the_wait_has_an_end(spot: Lab) -> None:
    Faults(spot.root / "home").inject(JobFault("interruption", after=0.1, seconds=600))
    limits = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
    description = spot.run("training", "job", request(spot, StoppingCondition=limits))
    assert description["TrainingJobStatus"] == "Stopped"
    assert description["SecondaryStatus"] == "MaxWaitTimeExceeded"


def test_a_job_that_waits_can_be_stopped(spot: Lab) -> None:
    Faults(spot.root / "home").inject(JobFault("interruption", after=0.1, seconds=600))
    spot.create("training", "job", request(spot))
    eventually(lambda: spot.describe("training", "job")["SecondaryStatus"] == "Interrupted")
    stop(spot.sagemaker, TRAINING, "job")
    assert spot.finish("training", "job")["TrainingJobStatus"] == "Stopped"


@pytest.mark.parametrize(("retries", "status", "attempts"), [(2, "Completed", 3), (1, "Failed", 2)])
def test_an_internal_error_is_tried_again_as_often_as_allowed(
    spot: Lab, retries: int, status: str, attempts: int
) -> None:
    # Every attempt counts from 0 and so takes 1 s: the error comes before its end, but late enough for a busy machine.
    Faults(spot.root / "home").inject(*[JobFault("internal-error", after=0.9)] * 2)
    params = request(spot, RetryStrategy={"MaximumRetryAttempts": retries})
    del params["CheckpointConfig"]
    description = spot.run("training", "job", params)
    assert description["TrainingJobStatus"] == status
    assert len(begins(spot)) == attempts
    assert stages(description).count("Restarting") == attempts - 1


def test_an_instance_of_its_own_is_never_interrupted(spot: Lab) -> None:
    faults = Faults(spot.root / "home")
    faults.inject(JobFault("interruption"))
    own = {**request(spot), "EnableManagedSpotTraining": False, "StoppingCondition": {"MaxRuntimeInSeconds": 60}}
    assert stages(spot.run("training", "job", own)).count("Training") == 1
    assert faults.fired() == []


def test_the_wait_must_be_stated_with_spot(spot: Lab) -> None:
    with pytest.raises(ClientError, match="MaxWaitTimeInSeconds: missing"):
        spot.create("training", "job", request(spot, StoppingCondition={"MaxRuntimeInSeconds": 60}))


def test_exit_codes_of_signals_are_docker_s(spot: Lab) -> None:
    spot.image("killed", f"os.kill(os.getpid(), {int(signal.SIGKILL)})")
    specification = {"TrainingImage": "killed", "TrainingInputMode": "File"}
    description = spot.run("training", "job", request(spot, AlgorithmSpecification=specification))
    assert description["FailureReason"].startswith("AlgorithmError: Please use an instance type with more memory")
    assert description["FailureReason"].endswith("exit code: 137")


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_step_of_the_clock_changes_no_limit(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    begin = time.time()
    job = SimpleNamespace(
        directory=SimpleNamespace(read_state=lambda: {"created": begin}),
        runtime_limit=60.0,
        request={"StoppingCondition": {"MaxWaitTimeInSeconds": 90}},
    )
    clock = training._Clock(cast(JobRun, job))
    monkeypatch.setattr("time.time", lambda: begin + step)
    assert 60 < clock.wait_left <= 90
    assert clock.run_left == 60
