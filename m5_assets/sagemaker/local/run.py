"""What the programs of the three kinds of jobs share: the job, the outside world it may use, and its container.

Standard library only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m5_assets.sagemaker.local.container import Container, Ending, Keeper, LogStream
from m5_assets.sagemaker.local.objects import Buckets
from m5_assets.sagemaker.local.outcome import JobFailure, Outcome
from m5_assets.sagemaker.local.state import JobDirectory

ACCOUNT = "000000000000"
_DEFAULT_LIMIT_SECONDS = 86_400


@dataclass(frozen=True)
class JobRun:
    """One run of one job.

    Attributes:
        directory: The job on disk.
        request: The request that created it.
        buckets: The buckets it may use.
        images: Image URIs and the command lines of their entry points.
        grace: Seconds between SIGTERM and SIGKILL.
        log: The stream of its container's output.
        keeper: Who ends its processes if this one dies.
    """

    directory: JobDirectory
    request: Mapping[str, Any]
    buckets: Buckets
    images: Mapping[str, Sequence[str]]
    grace: float
    log: LogStream
    keeper: Keeper

    @property
    def ml(self) -> Path:
        """The folder that stands for `/opt/ml`."""
        return self.directory.ml

    def local_path(self, container_path: str) -> Path:
        """Where a path below `/opt/ml` lies on this machine.

        Raises:
            JobFailure: The path is not below `/opt/ml`.
        """
        relative = container_path.removeprefix("/opt/ml/")
        if relative == container_path or ".." in Path(relative).parts:
            raise JobFailure(f"ClientError: the path {container_path} is not below /opt/ml")
        return self.ml / relative

    def make_folders(self, *relative: str) -> None:
        """Create folders below `/opt/ml`."""
        for name in relative:
            (self.ml / name).mkdir(parents=True, exist_ok=True)

    def write_config(self, relative: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file below `/opt/ml`."""
        path = self.ml / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")

    def entry_point(self, image: str) -> Sequence[str]:
        """The command line of an image's entry point.

        Raises:
            JobFailure: The image is not known on this machine.
        """
        if image not in self.images:
            known = ", ".join(sorted(self.images)) or "none"
            raise JobFailure(f"ClientError: no image {image} on this machine; known images: {known}")
        return self.images[image]

    def enter(self, stage: str) -> None:
        """Note a Training job's stage (its SecondaryStatus)."""
        with self.directory.change_state() as state:
            state["secondary_status"] = stage

    def start(self, argv: Sequence[str], environment: Mapping[str, str]) -> Container:
        """Start the container.

        Raises:
            JobFailure: The command cannot be started.
        """
        self.ml.mkdir(parents=True, exist_ok=True)
        with self.directory.change_state() as state:
            state["started"] = time.time()
        # Unbuffered, so that the log can be followed while the job runs.
        variables = {"PYTHONUNBUFFERED": "1", **environment, "SAGEMAKER_BASE_DIR": str(self.ml)}
        try:
            return Container(argv, variables, self.ml, self.log, self.keeper)
        except OSError as error:
            raise JobFailure(f"ClientError: the entry point {argv[0]} cannot be started: {error}") from error

    def run_to_the_end(self, argv: Sequence[str], environment: Mapping[str, str]) -> tuple[Ending, int]:
        """Run the container until it ends, is stopped, or has used up `MaxRuntimeInSeconds`.

        Returns:
            Why it ended, and its exit code.
        """
        if self.directory.stop_requested:
            return Ending.STOPPED, 0
        limit = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DEFAULT_LIMIT_SECONDS)
        container = self.start(argv, environment)
        ending = container.wait(lambda: self.directory.stop_requested, time.monotonic() + limit, self.grace)
        return ending, container.exit_code or 0

    def stopped(self, ending: Ending, **results: str) -> Outcome:
        """The outcome of a job that was stopped, by somebody or by its time limit."""
        if ending is Ending.TIMED_OUT:
            limit = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DEFAULT_LIMIT_SECONDS)
            reason = f"MaxRuntimeExceeded: the job ran longer than its limit of {limit} s"
            return Outcome("Stopped", "MaxRuntimeExceeded", failure_reason=reason, **results)
        return Outcome("Stopped", "Stopped", **results)

    @property
    def arn(self) -> str:
        """The job's ARN."""
        return job_arn(self.directory)


def job_arn(directory: JobDirectory, region: str | None = None) -> str:
    """A job's ARN, in an account that does not exist."""
    region = region or directory.read_runner()["region"]
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{directory.kind.name}-job/{directory.name}"
