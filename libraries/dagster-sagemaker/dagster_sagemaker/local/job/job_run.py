"""What the programs of the three kinds of jobs share: the job, the outside world it may use, and its instances.

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
from dagster_sagemaker.local.job.cluster import Ended, Misfortunes
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
        directory: The job on disk.
        request: The request that created it.
        region: The region that its ARN names.
        store: The objects it may use.
        images: Image URIs and the command lines of their entry points.
        grace: Seconds between SIGTERM and SIGKILL.
        keeper: Who ends its processes if this one dies.
        instances: Its instances.
        misfortunes: What is to go wrong with it.
    """

    directory: JobDirectory
    request: Mapping[str, Any]
    region: str
    store: ObjectStore
    images: Mapping[str, Sequence[str]]
    grace: float
    keeper: Keeper
    instances: Sequence[Instance]
    misfortunes: Misfortunes

    @property
    def arn(self) -> str:
        """The job's ARN."""
        return self.directory.arn(self.region)

    @property
    def hosts(self) -> list[str]:
        """The names of its instances."""
        return [instance.host for instance in self.instances]

    @property
    def scratch(self) -> Path:
        """A folder for what belongs to no container."""
        return self.directory.path / "scratch"

    @property
    def runtime_limit(self) -> int:
        """The request's `MaxRuntimeInSeconds`, or its default."""
        limit: int = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_LIMIT_SECONDS)
        return limit

    def tell(self, line: str) -> None:
        """Write a line of the platform's own to the log."""
        self.instances[0].log.write(f"[sagemaker] {line}")

    def check(self) -> None:
        """Leave off if the job was asked to stop.

        Raises:
            JobStopped: It was.
        """
        if self.directory.stop_requested:
            raise JobStopped

    def wait(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            JobStopped: The job was asked to stop meanwhile.
        """
        deadline = time.monotonic() + seconds
        self.check()
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, cluster.POLL_SECONDS))
            self.check()

    def enter(self, stage: str) -> None:
        """Note the job's stage (a Training job's SecondaryStatus)."""
        with self.directory.change_state() as state:
            enter_stage(state, stage)

    @contextmanager
    def metered(self) -> Iterator[None]:
        """Count the time of a block as time on instances, which is billed."""
        started = time.time()
        with self.directory.change_state() as state:
            state.setdefault("started", started)
        try:
            yield
        finally:
            with self.directory.change_state() as state:
                state["instance_seconds"] = state.get("instance_seconds", 0.0) + time.time() - started

    def entry_point(self, image: str) -> Sequence[str]:
        """The command line of an image's entry point.

        Raises:
            JobFailure: The image is not known on this machine.
        """
        if image not in self.images:
            known = ", ".join(sorted(self.images)) or "none"
            raise JobFailure(f"ClientError: no image {image} on this machine; known images: {known}")
        return self.images[image]

    def download(self, source: Mapping[str, Any], place: str, label: str) -> None:
        """Copy a data source to all instances, to each its share.

        Args:
            source: `S3DataType`, `S3Uri` and, if not FullyReplicated, `S3DataDistributionType`.
            place: The path below `/opt/ml` in the containers.
            label: What it is called in the log.

        Raises:
            JobFailure: There is nothing, or it cannot be read.
            JobStopped: The job was asked to stop.
        """
        objects = find_objects(self.store, source, self.scratch)
        sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
        for instance in self.instances:
            own = self.share(objects, instance) if sharded else objects
            download_objects(self.store, own, instance.local_path(place), self.check)
        divided = f", divided among {len(self.instances)} instances" if sharded and len(self.instances) > 1 else ""
        self.tell(f"{label}: {len(objects)} objects of {source['S3Uri']}{divided}")

    def share(self, objects: Sequence[StoredObject], instance: Instance) -> Sequence[StoredObject]:
        """An instance's share of objects that are divided by key."""
        return share(objects, instance.number, len(self.instances))

    def start(
        self, argv: Sequence[str], environments: Sequence[Mapping[str, str]], *, isolated: bool
    ) -> list[Container]:
        """Start a container on each instance.

        Args:
            argv: The command line.
            environments: Each instance's variables.
            isolated: Whether EnableNetworkIsolation keeps credentials from the containers.

        Raises:
            JobFailure: The command cannot be started.
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
        """Run a container on each instance until all have ended, or one failed, or they are stopped.

        Args:
            argv: The command line.
            environment: Their variables.
            isolated: Whether EnableNetworkIsolation keeps credentials from them.
            limit: Seconds that they may run.
        """
        self.check()
        containers = self.start(argv, [environment] * len(self.instances), isolated=isolated)
        return cluster.run_to_the_end(
            containers,
            stop_requested=lambda: self.directory.stop_requested,
            misfortunes=self.misfortunes,
            limit=limit,
            grace=self.grace,
        )

    def clear(self) -> None:
        """Empty the instances, as new ones are empty."""
        for instance in self.instances:
            shutil.rmtree(instance.ml, ignore_errors=True)
