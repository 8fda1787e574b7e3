"""Tests of lost runs in a real instance: which weeks are requested again, when, and how often."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator

import dagster as dg
import pytest

from m5_assets.automation.jobs import weekly_forecast
from m5_assets.automation.run_launcher import COMMAND_TAG, command_tag
from m5_assets.automation.sensors.lost_runs import PATIENCE, TIMES_TAG, lost_runs, requests_of
from m5_assets.cli.runs import CODE_LOCATION
from m5_assets.dagster_internals import MAX_RETRIES_TAG, PARTITION_NAME_TAG
from m5_assets_tests.support.dagster_internals import StepFailureData, create_run_for_test

JOB = weekly_forecast.name
WEEK, NEXT = "2016-05-09", "2016-05-16"
ORIGIN = CODE_LOCATION.get_job_origin(JOB)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance whose daemon would retry a lost run once."""
    with dg.instance_for_test({"run_retries": {"enabled": True, "max_retries": 1}}) as found:
        yield found


def lose(
    instance: dg.DagsterInstance,
    week: str = WEEK,
    *,
    run_id: str | None = None,
    tags: dict[str, str] | None = None,
    step: bool = False,
) -> dg.DagsterRun:
    """Return a failed run that Dagster does not retry; with `step`, it failed because of a step."""
    tags = {PARTITION_NAME_TAG: week, MAX_RETRIES_TAG: "0", "m5/order": "weekly"} | (tags or {})
    started = dg.DagsterRunStatus.STARTED
    run = create_run_for_test(
        instance, job_name=JOB, run_id=run_id, tags=tags, status=started, remote_job_origin=ORIGIN
    )
    if step:
        failure = StepFailureData(error=None, user_failure_data=None)  # type: ignore[no-untyped-call]  # Dagster's
        event = dg.DagsterEvent("STEP_FAILURE", JOB, step_key="features", event_specific_data=failure)
        instance.report_dagster_event(event, run.run_id)
    instance.report_run_failed(run)
    failed = instance.get_run_by_id(run.run_id)
    assert failed is not None
    return failed


def requested(instance: dg.DagsterInstance, later: dt.timedelta = dt.timedelta(seconds=1)) -> list[dg.RunRequest]:
    return list(requests_of(instance, JOB, dt.datetime.now(dt.UTC) + later))


def test_a_run_that_dagster_gave_up_is_requested_again_once(instance: dg.DagsterInstance) -> None:
    run = lose(instance)
    assert run.tags["dagster/will_retry"] == "false"
    result = lost_runs(dg.build_sensor_context(instance))
    assert isinstance(result, dg.SensorResult)
    assert result.run_requests is not None
    (request,) = result.run_requests
    # The run key is the lost run's, so Dagster starts one run, however often the sensor ticks.
    assert (request.job_name, request.partition_key, request.run_key) == (JOB, WEEK, f"lost run {run.run_id}")
    assert request.tags[TIMES_TAG] == "1"
    assert request.tags["m5/order"] == "weekly"
    assert MAX_RETRIES_TAG not in request.tags  # Dagster may retry the new run as often as any other


def test_a_run_that_dagster_retries_is_left_to_it(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(
        instance,
        job_name=JOB,
        tags={PARTITION_NAME_TAG: WEEK},
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=ORIGIN,
    )
    instance.report_run_failed(run)
    assert requested(instance) == []


def test_a_failed_step_is_not_retried(instance: dg.DagsterInstance) -> None:
    lose(instance, step=True)
    assert requested(instance) == []


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.CANCELED]
)
def test_a_later_run_of_the_week_stops_the_retries(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    lose(instance)
    lose(instance, NEXT)
    later = dg.DagsterRunStatus(status)
    create_run_for_test(instance, job_name=JOB, tags={PARTITION_NAME_TAG: WEEK}, status=later, remote_job_origin=ORIGIN)
    assert [request.partition_key for request in requested(instance)] == [NEXT]


def test_it_waits_longer_each_time_and_gives_up(instance: dg.DagsterInstance) -> None:
    for times, patience in enumerate(PATIENCE):
        lose(instance, tags={TIMES_TAG: str(times)})
        if patience:
            assert requested(instance, patience - dt.timedelta(seconds=30)) == []
        (request,) = requested(instance, patience + dt.timedelta(seconds=30))
        assert request.tags[TIMES_TAG] == str(times + 1)
    lose(instance, tags={TIMES_TAG: str(len(PATIENCE))})
    assert requested(instance, dt.timedelta(hours=20)) == []


def test_a_run_of_a_command_is_left_to_its_caller_and_a_re_execution_is_not(instance: dg.DagsterInstance) -> None:
    run_id = str(uuid.uuid4())
    run = lose(instance, run_id=run_id, tags={COMMAND_TAG: command_tag(run_id)})
    assert requested(instance) == []
    lose(instance, tags=dict(run.tags))
    assert [request.partition_key for request in requested(instance)] == [WEEK]
