"""A job's log reaches the step's output: both streams, all instances and kinds, late lines, without a busy loop."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import dagster as dg
import pytest
from dagster_sagemaker.job_kinds import PROCESSING
from dagster_sagemaker.job_logs import LogTail

from dagster_sagemaker_tests.conftest import Lab
from dagster_sagemaker_tests.test_pipes_client import REPORT, materialize, pipes_client
from dagster_sagemaker_tests.test_transform_client import score, serving

__all__ = ["serving"]

LOG: Any = dg.build_op_context().log


def count_calls(client: Any) -> Counter[str]:
    """How often each operation of a boto3 client is called from now on."""
    made: Counter[str] = Counter()

    def note(model: Any, **_: Any) -> None:
        made[model.name] += 1

    client.meta.events.register("before-call", note)
    return made


def test_what_a_container_prints_reaches_the_step_s_output(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.put("in/a.txt", "a")
    lab.image("report", "print('to stdout'); print('to stderr', file=sys.stderr)\n" + REPORT)
    assert materialize(pipes_client(lab), {"create_processing_job_params": lab.processing("report")})[0].success
    lines = capfd.readouterr().out.splitlines()
    assert "to stdout" in lines
    assert "to stderr" in lines


def test_every_instance_s_stream_is_followed(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    lab.put("in/a.txt", "a")
    host = "json.loads((base / 'config/resourceconfig.json').read_text())['current_host']"
    lab.image("report", f"host = {host}\nprint('I am', host)\nif host != 'algo-1': sys.exit(0)\n" + REPORT)
    request = lab.processing("report")
    request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] = 3
    assert materialize(pipes_client(lab), {"create_processing_job_params": request})[0].success
    lines = capfd.readouterr().out.splitlines()
    assert {line for line in lines if line.startswith("I am")} == {"I am algo-1", "I am algo-2", "I am algo-3"}


def test_a_transform_s_log_is_followed(serving: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    serving.put("in/a.csv", "bad")
    score(serving)
    out = capfd.readouterr().out
    assert "[sagemaker]" in out
    assert "a.csv" in out


def test_following_is_no_busy_loop(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    lab.image("report", "time.sleep(1.5)\n" + REPORT)
    logs, boto = count_calls(lab.logs), count_calls(lab.sagemaker)
    assert materialize(pipes_client(lab), {"create_processing_job_params": lab.processing("report")})[0].success
    looks = boto["DescribeProcessingJob"]
    # A look lists the streams once, and asks each for its events until the token repeats; draining looks twice more.
    assert 2 < logs["DescribeLogStreams"] <= looks + 3
    assert logs["GetLogEvents"] <= 3 * (looks + 3)
    assert looks < 3.0 / 0.05


class LateLogs:
    """Stands for CloudWatch, which shows lines some time after they were written."""

    def __init__(self, *lines: tuple[float, str]):
        self._born = time.monotonic()
        self._lines = lines

    def get_paginator(self, _: str) -> LateLogs:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"logStreams": [{"logStreamName": "job/algo-1-1"}]}]

    def get_log_events(self, *, nextToken: str = "0", **_: Any) -> dict[str, Any]:  # noqa: N803  # boto's name
        visible = [line for late, line in self._lines if time.monotonic() - self._born > late]
        events = [{"message": line} for line in visible[int(nextToken) :]]
        return {"events": events, "nextForwardToken": str(len(visible))}


def test_lines_that_come_after_the_end_are_drained(capfd: pytest.CaptureFixture[str]) -> None:
    logs: Any = LateLogs((0.0, "first"), (0.15, "late"), (0.4, "later"))
    tail = LogTail(logs, PROCESSING, "job", LOG)
    tail.drain(0.3)
    assert list(tail.last_lines) == ["first", "late", "later"]
    assert capfd.readouterr().out.splitlines() == ["first", "late", "later"]
