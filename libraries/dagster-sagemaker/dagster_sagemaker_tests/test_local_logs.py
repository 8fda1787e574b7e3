"""CloudWatch Logs' pages, tokens and filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker.job_kinds import TRAINING

from dagster_sagemaker_tests.conftest import Lab

GROUP = TRAINING.log_group


@pytest.fixture
def logged(tmp_path: Path) -> Lab:
    """Two streams of ten lines each, at even and odd milliseconds, and one of another job; nothing runs."""
    lab = Lab(tmp_path)
    for stream, first in (("job/algo-1-7", 0), ("job/algo-2-7", 1), ("job-2/algo-1-9", 0)):
        write(lab, stream, [(1000 + first + 2 * number, f"{stream} {number}") for number in range(10)])
    return lab


def write(lab: Lab, stream: str, lines: list[tuple[int, str]]) -> None:
    job, _, name = stream.partition("/")
    path = lab.root / "home/jobs/training" / job / "logs" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps({"timestamp": at, "message": text}) + "\n" for at, text in lines)


def numbers(page: Any) -> list[int]:
    return [int(event["message"].split()[-1]) for event in page["events"]]


def read(lab: Lab, **members: Any) -> Any:
    return lab.logs.get_log_events(logGroupName=GROUP, logStreamName="job/algo-1-7", **members)


def test_without_a_token_the_last_lines_are_read(logged: Lab) -> None:
    page = read(logged, limit=3)
    assert numbers(page) == [7, 8, 9]
    assert numbers(read(logged, limit=3, nextToken=page["nextBackwardToken"])) == [4, 5, 6]
    after = read(logged, nextToken=page["nextForwardToken"])
    assert after["events"] == []
    assert after["nextForwardToken"] == page["nextForwardToken"]


def test_from_the_head_page_by_page_and_what_comes_later(logged: Lab) -> None:
    page = read(logged, limit=4, startFromHead=True)
    seen = numbers(page)
    assert numbers(read(logged, nextToken=page["nextBackwardToken"])) == []
    while (following := read(logged, limit=4, nextToken=page["nextForwardToken"]))["events"]:
        seen += numbers(following)
        page = following
    assert seen == list(range(10))
    write(logged, "job/algo-1-7", [(5000, "late 10")])
    assert numbers(read(logged, nextToken=page["nextForwardToken"])) == [10]


def test_a_span_of_time(logged: Lab) -> None:
    assert numbers(read(logged, startTime=1004, endTime=1008, startFromHead=True)) == [2, 3]
    assert numbers(read(logged, startTime=1004, endTime=1010, limit=1)) == [4]


def test_a_response_has_a_limit_in_bytes(logged: Lab) -> None:
    write(logged, "job/big-1", [(1000 + number, "x" * 400_000 + f" {number}") for number in range(5)])
    page = logged.logs.get_log_events(logGroupName=GROUP, logStreamName="job/big-1", startFromHead=True)
    assert numbers(page) == [0, 1]


def test_streams_by_prefix_and_page(logged: Lab) -> None:
    describe = logged.logs.describe_log_streams
    assert [s["logStreamName"] for s in describe(logGroupName=GROUP, logStreamNamePrefix="job/")["logStreams"]] == [
        "job/algo-1-7",
        "job/algo-2-7",
    ]
    pages = logged.logs.get_paginator("describe_log_streams").paginate(
        logGroupName=GROUP, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["logStreams"]) for page in pages] == [2, 1]
    (stream,) = describe(logGroupName=GROUP, logStreamNamePrefix="job-2/")["logStreams"]
    assert stream["firstEventTimestamp"] == 1000
    with pytest.raises(ClientError, match="Cannot order by LastEventTime"):
        describe(logGroupName=GROUP, logStreamNamePrefix="job/", orderBy="LastEventTime")


def test_streams_are_merged_by_time(logged: Lab) -> None:
    pages = list(
        logged.logs.get_paginator("filter_log_events").paginate(
            logGroupName=GROUP, logStreamNamePrefix="job/", startTime=1002, PaginationConfig={"PageSize": 5}
        )
    )
    events = [event for page in pages for event in page["events"]]
    assert [event["timestamp"] for event in events] == list(range(1002, 1020))
    assert len({event["eventId"] for event in events}) == 18
    assert {event["logStreamName"] for event in events} == {"job/algo-1-7", "job/algo-2-7"}


def test_what_is_not_offered_or_not_there_is_refused(logged: Lab) -> None:
    with pytest.raises(ClientError, match="filterPattern"):
        logged.logs.filter_log_events(logGroupName=GROUP, filterPattern="ERROR")
    for name in ("job/nothing", "job/../../../secret"):
        with pytest.raises(ClientError, match="log stream does not exist"):
            logged.logs.get_log_events(logGroupName=GROUP, logStreamName=name)
    with pytest.raises(ClientError, match="nextToken is invalid"):
        read(logged, nextToken="f/x")
