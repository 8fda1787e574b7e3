"""Measures the overhead of following jobs: seconds around an empty job, and API calls per minute.

    python benchmarks/sagemaker_overhead.py [--jobs 15]

The first table compares the step of an empty Processing job in the local runner with the time its container ran, and
with the same step run again, when the finished job is adopted. The second counts the calls made while following one job
for hours, on a simulated clock that only sleeping advances, with the default poll interval. The service always answers
`InProgress`; in one case it throttles half of the time.
"""

import argparse
import logging
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
from botocore.config import Config
from botocore.exceptions import ClientError
from dagster_sagemaker import LocalPipesChannel, LocalSageMaker, PipesSageMakerClient
from dagster_sagemaker import patient_calls as calls_module
from dagster_sagemaker.job_lifecycle import DEFAULT_PATIENCE_SECONDS, DEFAULT_POLL_SECONDS
from dagster_sagemaker.patient_calls import PatientCalls

EMPTY = "from dagster_pipes import open_dagster_pipes\nwith open_dagster_pipes() as pipes:\n    pass\n"
HOURS = 8


def empty_jobs(count: int) -> Iterator[tuple[float, float, float]]:
    """Yield the seconds of a step that runs an empty job, of the job's container, and of the same step run again."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        root = Path(folder)
        (root / "lake").mkdir()
        (root / "empty.py").write_text(EMPTY)
        runner = LocalSageMaker(
            root / "home", buckets={"lake": root / "lake"}, images={"empty": [sys.executable, str(root / "empty.py")]}
        )
        once = Config(retries={"total_max_attempts": 1})
        client = PipesSageMakerClient(
            runner.client("sagemaker", once),
            LocalPipesChannel(root / "pipes"),
            logs_client=runner.client("logs", once),
            poll_interval=0.25,
        )
        for number in range(count):
            first, container = timed_step(client, number)
            again, _ = timed_step(client, number)
            yield first, container, again


def timed_step(client: PipesSageMakerClient, number: int) -> tuple[float, float]:
    """Run a step and return the seconds in the client and in the job's container."""
    seconds: list[float] = []

    @dg.asset
    def empty(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        params = {
            "RoleArn": "arn:aws:iam::123456789012:role/jobs",
            "AppSpecification": {"ImageUri": "empty"},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
            "Environment": {"NUMBER": str(number)},
        }
        started = time.perf_counter()
        done = client.run(context=context, create_processing_job_params=params)
        seconds.append(time.perf_counter() - started)
        description = done.description
        seconds.append((description["ProcessingEndTime"] - description["ProcessingStartTime"]).total_seconds())
        return done.get_materialize_result()

    dg.materialize([empty], run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}})
    return seconds[0], seconds[1]


class Clock:
    """A simulated clock that only sleeping advances."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the seconds so far."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


class Service:
    """A service with a job that never ends; it throttles for the given share of each ten minutes."""

    def __init__(self, clock: Clock, throttled: float):
        self.clock, self.throttled = clock, throttled
        self.asked: list[float] = []

    def describe_training_job(self, **_: Any) -> dict[str, str]:
        """Describe the job, or raise if throttled."""
        self.asked.append(self.clock.now)
        if self.clock.now % 600 < 600 * self.throttled:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "Describe")
        return {"TrainingJobStatus": "InProgress"}


def calls_a_minute(throttled: float) -> tuple[float, int]:
    """Return the mean and the maximum of describe calls per minute."""
    clock = Clock()
    with patch.object(calls_module, "time", clock):
        service = Service(clock, throttled)
        quiet = logging.getLogger("overhead")
        quiet.disabled = True
        calls = PatientCalls(quiet, interval=DEFAULT_POLL_SECONDS, patience=DEFAULT_PATIENCE_SECONDS)
        while clock.now < HOURS * 3600:
            calls(service.describe_training_job, TrainingJobName="job")
            calls.pause()
        busiest = max(sum(at <= other < at + 60 for other in service.asked) for at in service.asked)
        return len(service.asked) / (clock.now / 60), busiest


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=15)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    random.seed(1)
    steps, containers, agains = zip(*empty_jobs(arguments.jobs), strict=True)
    around = [step - container for step, container in zip(steps, containers, strict=True)]
    print("| seconds of an empty job | median | slowest |")
    print("| --- | ---: | ---: |")
    for name, values in (
        ("the whole step", steps),
        ("its container alone", containers),
        ("orchestration: the difference", around),
        ("the same work again, adopted", agains),
    ):
        print(f"| {name} | {statistics.median(values):.2f} | {max(values):.2f} |")
    print(f"\n| describe calls per minute of one job, {HOURS} hours | mean | busiest minute |")
    print("| --- | ---: | ---: |")
    for name, throttled in (("AWS answers", 0.0), ("throttled half of the time", 0.5)):
        mean, busiest = calls_a_minute(throttled)
        print(f"| {name} | {mean:.2f} | {busiest} |")


if __name__ == "__main__":
    main()
