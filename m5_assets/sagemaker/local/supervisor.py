"""The process that runs one job: `python -m m5_assets.sagemaker.local.supervisor <job folder>`.

Detached from whoever created the job, so that the job outlives the orchestrator. It holds the job's lock (a descriptor
that it inherited) for as long as it lives. Here: from the request to the last state. Not here: what each kind of job
does. Standard library only: it must start quickly.
"""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from m5_assets.sagemaker.local import processing, training, transform
from m5_assets.sagemaker.local.container import Keeper, LogStream
from m5_assets.sagemaker.local.objects import Buckets
from m5_assets.sagemaker.local.outcome import MAX_REASON_LENGTH, JobFailure, Outcome
from m5_assets.sagemaker.local.run import JobRun
from m5_assets.sagemaker.local.state import JobDirectory

_PROGRAMS: Mapping[str, Callable[[JobRun], Outcome]] = {
    "processing": processing.run,
    "training": training.run,
    "transform": transform.run,
}


def main() -> None:
    """Run the job of the folder that the command line names."""
    keeper = Keeper()
    directory = JobDirectory(Path(sys.argv[1]))
    runner = directory.read_runner()
    log = LogStream(directory.logs / f"algo-1-{int(time.time())}.jsonl")
    job = JobRun(
        directory=directory,
        request=directory.read_request(),
        buckets=Buckets({name: Path(folder) for name, folder in runner["buckets"].items()}),
        images=runner["images"],
        grace=runner["stop_grace"],
        log=log,
        keeper=keeper,
    )
    try:
        outcome = _PROGRAMS[directory.kind.name](job)
    except JobFailure as failure:
        outcome = Outcome("Failed", "Failed", failure_reason=str(failure))
    except Exception as error:  # noqa: BLE001  # whatever went wrong, the job must reach a last state
        for line in traceback.format_exc().splitlines():
            log.write(line)
        outcome = Outcome("Failed", "Failed", failure_reason=f"InternalServerError: {type(error).__name__}: {error}")
    if outcome.failure_reason:
        log.write(f"[sagemaker] {outcome.failure_reason}")
    _finish(directory, outcome)
    keeper.dismiss()


def _finish(directory: JobDirectory, outcome: Outcome) -> None:
    if outcome.status == "Completed":
        # As on AWS, where the instance is gone; what failed or was stopped stays for a look.
        shutil.rmtree(directory.ml, ignore_errors=True)
    with directory.change_state() as state:
        # Who asked for a stop in time must never see the job completed.
        stopped = outcome.status == "Completed" and directory.stop_requested
        state["status"] = "Stopped" if stopped else outcome.status
        state["secondary_status"] = "Stopped" if stopped else outcome.secondary_status or outcome.status
        state["ended"] = time.time()
        state["failure_reason"] = outcome.failure_reason[:MAX_REASON_LENGTH]
        state["exit_message"] = outcome.exit_message
        state["model_artifact"] = outcome.model_artifact


if __name__ == "__main__":
    main()
