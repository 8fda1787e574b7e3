"""Faults on purpose: what a caller sees of each, and what the job comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from m5_assets.sagemaker.local.faults import CallEvent, CallFault, Faults
from m5_assets_tests.sagemaker.conftest import Lab


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
        return [faults.take_call("ListModels") is not None for _ in range(100)]

    assert draws(1) == draws(1) != draws(2)
    assert 20 < sum(draws(1)) < 60


def test_without_a_plan_nothing_is_written(lab: Lab) -> None:
    with pytest.raises(ClientError, match="Could not find"):
        lab.describe("processing", "nothing")
    assert not list(lab.root.rglob("faults*"))
