"""What the three kinds of jobs share: the job itself, the S3 and images it may use, and its instances.

Standard library only.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_sagemaker.local.job import cluster
from dagster_sagemaker.local.job.cluster import Ended, PlannedFaults
from dagster_sagemaker.local.job.container import Container, container_environment
from dagster_sagemaker.local.job.instance import Instance
from dagster_sagemaker.local.job.outcome import JobFailure, JobStopped
from dagster_sagemaker.local.job.s3_objects import ObjectStore, StoredObject, download_objects, find_objects, share
from dagster_sagemaker.local.job_directory import JobDirectory, enter_stage
from dagster_sagemaker.local.job_processes import Keeper

DEFAULT_LIMIT_SECONDS = 86_400


@dataclass(frozen=True)
class JobRun:
    """One run of one job.

    Attributes:
        directory: the job on disk.
        request: the request that created it.
        region: the region in its ARN.
        store: the S3 that it reads and writes.
        images: command lines of entry points by image URI.
        grace: seconds between SIGTERM and SIGKILL.
        keeper: kills its processes if this one dies.
        instances: its instances.
        faults: the faults that it has to suffer.
    """

    directory: JobDirectory
    request: Mapping[str, Any]
    region: str
    store: ObjectStore
    images: Mapping[str, Sequence[str]]
    grace: float
    keeper: Keeper
    instances: Sequence[Instance]
    faults: PlannedFaults

    @property
    def arn(self) -> str:
        """The job's ARN."""
        return self.directory.arn(self.region)

    @property
    def hosts(self) -> list[str]:
        """The host names of its instances."""
        return [instance.host for instance in self.instances]

    @property
    def scratch(self) -> Path:
        """A folder for temporary files."""
        return self.directory.path / "scratch"

    @property
    def runtime_limit(self) -> int:
        """The request's `MaxRuntimeInSeconds`, or its default."""
        limit: int = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_LIMIT_SECONDS)
        return limit

    def log_line(self, line: str) -> None:
        """Write a line of the runner's own to the log."""
        self.instances[0].log.write(f"[sagemaker] {line}")

    def check(self) -> None:
        """Raise if the job was asked to stop.

        Raises:
            JobStopped: the job was asked to stop.
        """
        if self.directory.stop_requested:
            raise JobStopped

    def wait(self, seconds: float) -> None:
        """Sleep, unless the job is asked to stop.

        Raises:
            JobStopped: the job was asked to stop meanwhile.
        """
        deadline = time.monotonic() + seconds
        self.check()
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, cluster.POLL_SECONDS))
            self.check()

    def enter(self, stage: str) -> None:
        """Record the job's stage (a Training job's SecondaryStatus)."""
        with self.directory.change_state() as state:
            enter_stage(state, stage)

    @contextmanager
    def metered(self) -> Iterator[None]:
        """Count the duration of a block as billed time on instances."""
        started = time.monotonic()
        with self.directory.change_state() as state:
            state.setdefault("started", time.time())
        try:
            yield
        finally:
            with self.directory.change_state() as state:
                state["instance_seconds"] = state.get("instance_seconds", 0.0) + time.monotonic() - started

    def entry_point(self, image: str) -> Sequence[str]:
        """Return the command line of an image's entry point.

        Raises:
            JobFailure: the image is not known on this machine.
        """
        if image not in self.images:
            known = ", ".join(sorted(self.images)) or "none"
            raise JobFailure(f"ClientError: no image {image} on this machine; known images: {known}")
        return self.images[image]

    def download(self, source: Mapping[str, Any], place: str, label: str) -> None:
        """Copy a data source to the instances, all of it or each one's share.

        Args:
            source: the request's S3 data source.
            place: the path below `/opt/ml` in the containers.
            label: its name in the log.

        Raises:
            JobFailure: the source is empty or cannot be read.
            JobStopped: the job was asked to stop.
        """
        objects = find_objects(self.store, source, self.scratch)
        sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
        for instance in self.instances:
            own = self.share(objects, instance) if sharded else objects
            download_objects(self.store, own, instance.local_path(place), self.check)
        divided = f", divided among {len(self.instances)} instances" if sharded and len(self.instances) > 1 else ""
        self.log_line(f"{label}: {len(objects)} objects of {source['S3Uri']}{divided}")

    def share(self, objects: Sequence[StoredObject], instance: Instance) -> Sequence[StoredObject]:
        """Return an instance's share of objects that are divided by key."""
        return share(objects, instance.number, len(self.instances))

    def start(
        self, argv: Sequence[str], environments: Sequence[Mapping[str, str]], *, isolated: bool
    ) -> list[Container]:
        """Start a container on each instance.

        Args:
            argv: the command line.
            environments: the environment variables, per instance.
            isolated: whether EnableNetworkIsolation is set, so that the containers get no credentials.

        Raises:
            JobFailure: the command cannot be started.
        """
        shared = container_environment(credentials=not isolated)
        started: list[Container] = []
        try:
            for instance, own in zip(self.instances, environments, strict=True):
                instance.ml.mkdir(parents=True, exist_ok=True)
                started.append(Container(argv, {**shared, **own}, instance.ml, instance.log, self.keeper))
        except JobFailure:
            for container in started:
                container.close()
            raise
        return started

    def run_containers(
        self, argv: Sequence[str], environment: Mapping[str, str], *, isolated: bool, limit: float
    ) -> Ended:
        """Run a container on each instance until all have ended, one has failed, or they are stopped.

        Args:
            argv: the command line.
            environment: the environment variables.
            isolated: whether EnableNetworkIsolation is set, so that the containers get no credentials.
            limit: seconds that they may run.
        """
        self.check()
        containers = self.start(argv, [environment] * len(self.instances), isolated=isolated)
        return cluster.run_to_the_end(
            containers,
            stop_requested=lambda: self.directory.stop_requested,
            faults=self.faults,
            limit=limit,
            grace=self.grace,
        )

    def clear(self) -> None:
        """Empty the instances, because a new attempt starts on new ones."""
        for instance in self.instances:
            shutil.rmtree(instance.ml, ignore_errors=True)
