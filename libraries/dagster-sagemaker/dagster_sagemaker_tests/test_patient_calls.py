"""Polling on a clock of its own: how often AWS is called in hours of a job, and what trouble is outlasted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from dagster_sagemaker import patient_calls as calls_module
from dagster_sagemaker.patient_calls import PatientCalls, is_passing
from hypothesis import given
from hypothesis import strategies as st

THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "DescribeTrainingJob")
LOST = EndpointConnectionError(endpoint_url="https://api.sagemaker.us-east-1.amazonaws.com")
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeTrainingJob")
BROKEN = ClientError(
    {"Error": {"Code": "500", "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 503}},  # type: ignore[typeddict-item]  # the rest does not matter
    "DescribeTrainingJob",
)


class Clock:
    """A clock that moves by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Service:
    """Stands for AWS: answers or raises depending on the time, and records when it was called."""

    def __init__(self, clock: Clock, trouble: Callable[[float], Exception | None]):
        self.clock, self.trouble = clock, trouble
        self.asked: list[float] = []

    def describe_training_job(self, **_: Any) -> dict[str, str]:
        self.asked.append(self.clock.now)
        if error := self.trouble(self.clock.now):
            raise error
        return {"TrainingJobStatus": "InProgress"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(calls_module, "time", found)
    return found


def patient(**options: Any) -> PatientCalls:
    settings = {"interval": 15.0, "patience": 900.0, **options}
    return PatientCalls(logging.getLogger("test"), **settings)


def poll_for(calls: PatientCalls, service: Service, clock: Clock, seconds: float) -> None:
    while clock.now < seconds:
        calls(service.describe_training_job, TrainingJobName="job")
        calls.pause()


def busiest_minute(times: list[float]) -> int:
    return max(sum(start <= t < start + 60 for t in times) for start in times)


@pytest.mark.parametrize("trouble", [lambda _: None, lambda now: THROTTLED if now % 600 > 300 else None])
def test_a_job_of_three_hours_is_described_at_most_four_times_a_minute(
    clock: Clock, trouble: Callable[[float], Exception | None]
) -> None:
    service = Service(clock, trouble)
    calls = patient()
    poll_for(calls, service, clock, 3 * 3600)
    assert busiest_minute(service.asked) <= 4
    assert calls.made["describe_training_job"] == len(service.asked)
    assert len(service.asked) > 3 * 60 * 1.0


@pytest.mark.parametrize("error", [THROTTLED, LOST, BROKEN, ReadTimeoutError(endpoint_url="https://aws")])
def test_ten_minutes_of_trouble_are_waited_out_and_told_once_a_minute(
    clock: Clock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service = Service(clock, lambda now: error if now < 600 else None)
    assert patient()(service.describe_training_job) == {"TrainingJobStatus": "InProgress"}
    assert clock.now >= 600
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 5 <= len(warnings) <= 11
    assert "answered again" in caplog.records[-1].message


def test_patience_has_an_end(clock: Clock) -> None:
    service = Service(clock, lambda _: THROTTLED)
    with pytest.raises(ClientError, match="Rate exceeded"):
        patient()(service.describe_training_job)
    assert 900 < clock.now < 1000


def test_what_waiting_cannot_mend_is_raised_at_once(clock: Clock) -> None:
    service = Service(clock, lambda _: DENIED)
    with pytest.raises(ClientError, match="AccessDenied"):
        patient()(service.describe_training_job)
    assert len(service.asked) == 1


@given(st.floats(0.01, 120))
def test_a_pause_is_never_shorter_than_asked(interval: float) -> None:
    slept: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dagster_sagemaker.patient_calls.time.sleep", slept.append)
        patient(interval=interval).pause()
    assert interval <= slept[0] <= 1.25 * interval


def test_an_unknown_job_is_no_passing_error() -> None:
    assert not is_passing(ClientError({"Error": {"Code": "ValidationException", "Message": "no job"}}, "Describe"))
