"""Faults on purpose: what a caller sees of each, and what the job comes to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from dagster_sagemaker.local.fault_plan import FaultPlan
from dagster_sagemaker.local.job_processes import marked_processes
from dagster_sagemaker.testing import CallEvent, CallFault, Faults, JobEvent, JobFault

from dagster_sagemaker_tests.conftest import Lab


@pytest.fixture
def faults(lab: Lab) -> Faults:
    lab.put("in/a.txt", "a")
    return Faults(lab.root / "home")


@pytest.mark.parametrize(
    ("event", "error", "created"),
    [
        ("throttling", ClientError, False),
        ("unavailable", ClientError, False),
        ("lost-request", EndpointConnectionError, False),
        ("lost-response", ConnectionClosedError, True),
    ],
)
def test_a_call_fails(lab: Lab, faults: Faults, event: CallEvent, error: type[Exception], created: bool) -> None:
    request = lab.processing(lab.image("nop", ""))
    client = lab.runner.client("sagemaker", Config(retries={"total_max_attempts": 1}))
    faults.inject(CallFault(event, operation="CreateProcessing*"))
    with pytest.raises(error):
        client.create_processing_job(ProcessingJobName="job", **request)
    assert lab.jobs("processing") == (["job"] if created else [])
    assert [(fired.event, fired.target) for fired in faults.fired()] == [(event, "CreateProcessingJob")]
    # Used up: the next call is done.
    client.create_processing_job(ProcessingJobName="other", **request)


def test_botocore_retries_what_passes(lab: Lab, faults: Faults) -> None:
    lab.create("processing", "job", lab.processing(lab.image("nop", "")))
    faults.inject(CallFault("throttling", operation="DescribeProcessingJob", times=2))
    assert lab.describe("processing", "job")["ProcessingJobName"] == "job"
    assert len(faults.fired()) == 2


def test_draws_are_the_seed_s(tmp_path: Path) -> None:
    def draws(seed: int) -> list[bool]:
        faults = Faults(tmp_path / "home")
        faults.clear()
        faults.inject(CallFault("throttling", times=None, probability=0.4, seed=seed))
        plan = FaultPlan(tmp_path / "home")
        return [plan.take_call("ListModels") is not None for _ in range(100)]

    assert draws(1) == draws(1) != draws(2)
    assert 20 < sum(draws(1)) < 60


def test_without_a_plan_nothing_is_written(lab: Lab) -> None:
    with pytest.raises(ClientError, match="Could not find"):
        lab.describe("processing", "nothing")
    assert not list(lab.root.rglob("faults*"))


SLEEP = "print('ready'); time.sleep(600)"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("capacity", "CapacityError: Unable to provision requested ML compute capacity."),
        ("crash", "AlgorithmError: the container exited with code 139 on algo-1"),
        ("out-of-memory", "AlgorithmError: Please use an instance type with more memory"),
        ("internal-error", "InternalServerError: We encountered an internal error"),
        ("supervisor-death", "InternalServerError: the job's supervisor process died"),
    ],
)
@pytest.mark.parametrize("kind", ["processing", "training"])
def test_a_job_fails(lab: Lab, faults: Faults, kind: str, event: JobEvent, reason: str) -> None:
    faults.inject(JobFault(event, kind=kind, job="jo?", after=0.1))
    description = lab.run(kind, "job", getattr(lab, kind)(lab.image("sleep", SLEEP)))
    assert description[f"{kind.title()}JobStatus"] == "Failed"
    assert description["FailureReason"].startswith(reason)
    assert [(fired.event, fired.target) for fired in faults.fired()] == [(event, f"{kind}/job")]
    assert not list(marked_processes(lab.root / "home"))


def test_a_job_starts_slowly_and_can_be_stopped_meanwhile(lab: Lab, faults: Faults) -> None:
    faults.inject(JobFault("slow-start", job="slow", seconds=0.5), JobFault("slow-start", job="never", seconds=600))
    request = lab.training(lab.image("nop", "print('ready')"))
    begun = time.monotonic()
    lab.create("training", "never", request)
    lab.run("training", "slow", request)
    assert time.monotonic() - begun > 0.5
    description = lab.describe("training", "never")
    assert description["SecondaryStatus"] == "Starting"
    assert "TrainingStartTime" not in description
    lab.sagemaker.stop_training_job(TrainingJobName="never")
    assert lab.finish("training", "never")["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="log stream does not exist"):
        lab.logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName="never/algo-1-0")


def test_a_fault_hits_as_many_jobs_as_asked_for(lab: Lab, faults: Faults) -> None:
    faults.inject(JobFault("capacity", times=2))
    request = lab.processing(lab.image("nop", ""))
    for name in ("a", "b", "c"):
        lab.create("processing", name, request)
    with pytest.raises(ClientError, match="already exists"):
        lab.create("processing", "a", request)
    statuses = [lab.finish("processing", name)["ProcessingJobStatus"] for name in ("a", "b", "c")]
    assert statuses == ["Failed", "Failed", "Completed"]
