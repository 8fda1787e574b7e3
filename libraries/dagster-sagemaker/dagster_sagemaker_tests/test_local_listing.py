"""List operations, tags and descriptions: what a sweeper or a person looks through."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker.job_kinds import KINDS

from dagster_sagemaker_tests.conftest import ROLE, Lab

NAMES = ["gbm-1", "gbm-2", "lstm-1", "GBM-3", "lstm-2"]


@pytest.fixture
def idle(tmp_path: Path) -> Lab:
    """A laboratory in which nothing runs, so that nothing is stopped in the end."""
    return Lab(tmp_path)


@pytest.fixture
def listed(idle: Lab) -> Lab:
    """Five jobs of each kind that never ran, a second apart, of which the odd ones failed."""
    for kind in KINDS:
        for number, name in enumerate(NAMES):
            store(idle.root / "home/jobs" / kind / name, number, "Failed" if number % 2 else "Completed")
    return idle


def store(folder: Path, created: float, status: str) -> None:
    folder.mkdir(parents=True)
    state = {
        "status": status,
        "created": created,
        "modified": created + 10,
        "started": created + 1,
        "ended": created + 2,
        "transitions": [{"stage": status, "started": created, "ended": created}],
        "failure_reason": "AlgorithmError: why" if status == "Failed" else "",
    }
    (folder / "request.json").write_text("{}")
    (folder / "state.json").write_text(json.dumps(state))


def names(lab: Lab, kind: str, **request: Any) -> list[str]:
    job_kind = KINDS[kind]
    page = getattr(lab.sagemaker, f"list_{kind}_jobs")(**request)
    return [entry[job_kind.job_name] for entry in page[f"{job_kind.title}JobSummaries"]]


@pytest.mark.parametrize("kind", list(KINDS))
def test_jobs_are_found_by_name_status_and_time(listed: Lab, kind: str) -> None:
    assert names(listed, kind) == NAMES
    assert names(listed, kind, SortOrder="Descending") == NAMES[::-1]
    assert names(listed, kind, SortBy="Name") == ["GBM-3", "gbm-1", "gbm-2", "lstm-1", "lstm-2"]
    assert names(listed, kind, NameContains="gbm") == ["gbm-1", "gbm-2"]
    assert names(listed, kind, StatusEquals="Failed") == ["gbm-2", "GBM-3"]
    assert names(listed, kind, CreationTimeAfter=1.5, CreationTimeBefore=3.5) == ["lstm-1", "GBM-3"]
    assert names(listed, kind, LastModifiedTimeAfter=13.5) == ["lstm-2"]


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
def test_pages_neither_repeat_nor_lose_a_job(listed: Lab, order: Any) -> None:
    pages = []
    token: dict[str, Any] = {}
    while True:
        page = listed.sagemaker.list_training_jobs(MaxResults=2, SortOrder=order, **token)
        pages.append([entry["TrainingJobName"] for entry in page["TrainingJobSummaries"]])
        # A newcomer, which the pages to come would count as theirs if they were cut by number.
        created = -1.0 if order == "Ascending" else 99.0
        store(listed.root / "home/jobs/training" / f"new-{len(pages)}", created, "Failed")
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    expected = NAMES if order == "Ascending" else NAMES[::-1]
    assert [name for page in pages for name in page] == expected
    assert [len(page) for page in pages] == [2, 2, 1]


def test_summaries_are_those_of_the_service(listed: Lab) -> None:
    (training,) = listed.sagemaker.list_training_jobs(NameContains="lstm-2")["TrainingJobSummaries"]
    (processing,) = listed.sagemaker.list_processing_jobs(NameContains="gbm-2")["ProcessingJobSummaries"]
    assert training["SecondaryStatus"] == "Completed"
    assert processing["FailureReason"] == "AlgorithmError: why"
    model = listed.sagemaker.meta.service_model
    assert set(training) <= set(model.shape_for("TrainingJobSummary").members)  # type: ignore[attr-defined]
    assert set(processing) <= set(model.shape_for("ProcessingJobSummary").members)  # type: ignore[attr-defined]


def test_a_bad_page_is_refused(listed: Lab) -> None:
    with pytest.raises(ClientError, match="NextToken"):
        listed.sagemaker.list_training_jobs(NextToken="nonsense")
    with pytest.raises(ClientError, match="MaxResults"):
        listed.sagemaker.list_training_jobs(MaxResults=101)


def test_a_dead_job_is_not_listed_as_running(idle: Lab) -> None:
    store(idle.root / "home/jobs/training/dead", time.time(), "InProgress")
    (idle.root / "home/jobs/training/dead/supervisor.lock").touch()
    assert names(idle, "training", StatusEquals="InProgress") == []
    assert names(idle, "training", StatusEquals="Failed") == ["dead"]


def test_a_job_of_an_earlier_version_can_still_be_adopted(idle: Lab) -> None:
    store(idle.root / "home/jobs/training/old", 1.0, "Completed")
    path = idle.root / "home/jobs/training/old/state.json"
    state = json.loads(path.read_text())
    del state["transitions"]
    path.write_text(json.dumps({**state, "model_artifact": "s3://lake/model.tar.gz"}))
    description = idle.describe("training", "old")
    assert description["TrainingJobStatus"] == description["SecondaryStatus"] == "Completed"
    assert description["ModelArtifacts"] == {"S3ModelArtifacts": "s3://lake/model.tar.gz"}


def test_models_are_listed_and_tagged(lab: Lab) -> None:
    for name in ("Gbm-a", "lstm-a", "Gbm-b"):
        lab.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": "image"},
            Tags=[{"Key": "run", "Value": "1"}],
        )
    found = lab.sagemaker.list_models(NameContains="Gbm", SortBy="Name", SortOrder="Ascending")["Models"]
    assert [entry["ModelName"] for entry in found] == ["Gbm-a", "Gbm-b"]
    arn = found[0]["ModelArn"]
    lab.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "run", "Value": "2"}, {"Key": "more", "Value": "x"}])
    tags = {tag["Key"]: tag["Value"] for tag in lab.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"run": "2", "more": "x"}
    assert "Tags" not in lab.sagemaker.describe_model(ModelName="Gbm-a")
