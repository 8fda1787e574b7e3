"""Jobs that lost their run are stopped, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker import SweptJob, sweep
from dagster_sagemaker.ownership import RUN_TAG

from dagster_sagemaker_tests.conftest import Lab, eventually
from dagster_sagemaker_tests.test_pipes_client import REPORT, start_orchestrator, tags_of


@pytest.fixture
def waiting(lab: Lab) -> Lab:
    lab.put("in/a.txt", "a")
    lab.image("report", "print('waiting'); time.sleep(600)" + REPORT)
    return lab


def start(lab: Lab, name: str, run_id: str | None) -> None:
    tags = [{"Key": RUN_TAG, "Value": run_id}] if run_id else []
    lab.create("processing", name, lab.processing("report", Tags=tags))


def test_only_the_running_jobs_of_ended_runs_are_stopped(waiting: Lab) -> None:
    start(waiting, "orphan-a1", "ended")
    start(waiting, "followed-a1", "running")
    start(waiting, "foreign", None)
    waiting.create("training", "orphan-a2", waiting.training("report", Tags=[{"Key": RUN_TAG, "Value": "ended"}]))
    asked: list[str] = []

    def ended(run_id: str) -> bool:
        asked.append(run_id)
        return run_id == "ended"

    swept = sweep(waiting.sagemaker, ended)
    assert swept == [SweptJob("processing", "orphan-a1", "ended"), SweptJob("training", "orphan-a2", "ended")]
    assert sorted(asked) == ["ended", "ended", "running"]
    assert waiting.finish("processing", "orphan-a1")["ProcessingJobStatus"] == "Stopped"
    assert waiting.finish("training", "orphan-a2")["TrainingJobStatus"] == "Stopped"
    for name in ("followed-a1", "foreign"):
        assert waiting.describe("processing", name)["ProcessingJobStatus"] == "InProgress"
    assert sweep(waiting.sagemaker, ended) == []


def test_the_job_of_a_killed_orchestrator_is_swept_by_its_run(waiting: Lab) -> None:
    process = start_orchestrator(waiting)
    (name,) = eventually(lambda: waiting.jobs("processing"))
    eventually(lambda: waiting.describe("processing", name).get("ProcessingStartTime"))  # else the request dies, too
    process.kill()
    process.wait()
    run_id = tags_of(waiting, name)[RUN_TAG]
    assert [job.name for job in sweep(waiting.sagemaker, run_id.__eq__)] == [name]
    assert waiting.finish("processing", name)["ProcessingJobStatus"] == "Stopped"


def test_a_job_whose_tags_may_not_be_read_is_somebody_else_s(waiting: Lab) -> None:
    start(waiting, "theirs", "ended")
    start(waiting, "orphan-a1", "ended")

    def deny(params: dict[str, Any], **_: Any) -> None:
        if b"theirs" in params["body"]:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "ListTags")

    waiting.sagemaker.meta.events.register("before-call.sagemaker.ListTags", deny)
    assert [job.name for job in sweep(waiting.sagemaker, lambda _: True)] == ["orphan-a1"]


def test_more_jobs_than_a_page_holds_are_all_seen(waiting: Lab) -> None:
    waiting.image("quick", "time.sleep(600)")
    for number in range(12):
        waiting.create(
            "processing", f"job-{number}", waiting.processing("quick", Tags=[{"Key": RUN_TAG, "Value": "ended"}])
        )
    assert len(sweep(waiting.sagemaker, lambda _: True)) == 12
