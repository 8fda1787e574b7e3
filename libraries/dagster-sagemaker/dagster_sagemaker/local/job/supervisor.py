"""The process that runs one job: `python -m dagster_sagemaker.local.job.supervisor <job folder>`.

It is detached from the process that created the job, so that the job outlives the orchestrator, and holds the job's
lock (an inherited descriptor) as long as it lives. Standard library only, except S3 over HTTP, to start quickly.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster_sagemaker.job_kinds import TRANSFORM
from dagster_sagemaker.local.job import processing, training, transform
from dagster_sagemaker.local.job.cluster import PlannedFaults
from dagster_sagemaker.local.job.container import LogStream
from dagster_sagemaker.local.job.folder_store import FolderStore
from dagster_sagemaker.local.job.http_store import HttpStore
from dagster_sagemaker.local.job.instance import Instance
from dagster_sagemaker.local.job.job_run import JobRun
from dagster_sagemaker.local.job.outcome import MAX_REASON_LENGTH, JobFailure, JobStopped, Outcome
from dagster_sagemaker.local.job.s3_objects import ObjectStore
from dagster_sagemaker.local.job_directory import JobDirectory, enter_stage
from dagster_sagemaker.local.job_processes import Keeper, kill_processes

_PROGRAMS: Mapping[str, Callable[[JobRun], Outcome]] = {
    "processing": processing.run,
    "training": training.run,
    "transform": transform.run,
}
_NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)


def main() -> None:
    """Run the job whose folder the command line names."""
    directory = JobDirectory(Path(sys.argv[1]))
    keeper = Keeper(directory.ml)
    runner, request = directory.read_runner(), directory.read_request()
    instances = _instances(directory, request)
    try:
        job = JobRun(
            directory=directory,
            request=request,
            region=runner["region"],
            store=_store(runner),
            images=runner["images"],
            grace=runner["stop_grace"],
            keeper=keeper,
            instances=instances,
            faults=PlannedFaults(runner["faults"]),
        )
        _await_instances(job)
        outcome = _PROGRAMS[directory.kind.name](job)
    except JobStopped:
        outcome = Outcome("Stopped")
    except JobFailure as failure:
        outcome = Outcome("Failed", failure_reason=str(failure))
    except Exception as error:  # noqa: BLE001  # whatever goes wrong, the job must reach a terminal status
        for line in traceback.format_exc().splitlines():
            instances[0].log.write(line)
        outcome = Outcome("Failed", failure_reason=f"InternalServerError: {type(error).__name__}: {error}")
    if outcome.failure_reason:
        instances[0].log.write(f"[sagemaker] {outcome.failure_reason}")
    # Also those that left their container's process group.
    kill_processes(directory.ml)
    _finish(directory, outcome)
    keeper.dismiss()


def _instances(directory: JobDirectory, request: Mapping[str, Any]) -> Sequence[Instance]:
    """Return the job's instances, with log streams named as in CloudWatch."""
    now = int(time.time())
    found = []
    for number in range(directory.kind.resources(request).get("InstanceCount", 1)):
        host = f"algo-{number + 1}"
        name = host
        if directory.kind is TRANSFORM:
            name = "i-" + hashlib.sha256(f"{directory.name}/{host}".encode()).hexdigest()[:17]
        found.append(Instance(number, directory.ml / host, LogStream(directory.logs / f"{name}-{now}.jsonl")))
    return found


def _store(runner: Mapping[str, Any]) -> ObjectStore:
    if runner["s3_endpoint"]:
        return HttpStore(runner["s3_endpoint"], runner["region"])
    return FolderStore({name: Path(folder) for name, folder in runner["buckets"].items()})


def _await_instances(job: JobRun) -> None:
    """Wait until the job has its instances: at once, unless a test's fault delays or denies them."""
    delay = job.faults.take("slow-start")
    job.wait(delay or 0.0)
    if job.faults.take("capacity") is not None:
        raise JobFailure(_NO_CAPACITY)


def _finish(directory: JobDirectory, outcome: Outcome) -> None:
    shutil.rmtree(directory.path / "scratch", ignore_errors=True)
    if outcome.status == "Completed":
        # As on AWS, where the instance is gone; files of failed and stopped jobs are kept for inspection.
        shutil.rmtree(directory.ml, ignore_errors=True)
    with directory.change_state() as state:
        # A job that was asked to stop in time must never be Completed.
        stopped = outcome.status == "Completed" and directory.stop_requested
        state["status"] = "Stopped" if stopped else outcome.status
        state["ended"] = time.time()
        state["failure_reason"] = outcome.failure_reason[:MAX_REASON_LENGTH]
        state["exit_message"] = outcome.exit_message
        state["model_artifact"] = outcome.model_artifact
        enter_stage(state, state["status"] if stopped else outcome.secondary_status or outcome.status)


if __name__ == "__main__":
    main()
