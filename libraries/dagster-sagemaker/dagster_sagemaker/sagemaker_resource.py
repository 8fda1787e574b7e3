"""`SageMakerResource`: SageMaker as a Dagster resource, on AWS or on this machine by one setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import boto3
from botocore.config import Config
from dagster import ConfigurableResource
from pydantic import Field

from dagster_sagemaker.job_lifecycle import DEFAULT_PATIENCE_SECONDS, DEFAULT_POLL_SECONDS
from dagster_sagemaker.local.service import LocalSageMaker
from dagster_sagemaker.pipes_channel import LocalPipesChannel, PipesChannel
from dagster_sagemaker.pipes_client import PipesSageMakerClient
from dagster_sagemaker.transform_client import DEFAULT_TIME_LIMIT_SECONDS, SageMakerTransformClient

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

_LOCAL_POLL_SECONDS = 0.5


class SageMakerResource(ConfigurableResource):  # type: ignore[type-arg]  # the type argument is for resources of another type
    """SageMaker for assets: boto3 clients, a Pipes client and a Batch Transform client.

    Example:
        >>> @dg.asset
        ... def features(context: dg.AssetExecutionContext, sagemaker: SageMakerResource):
        ...     client = sagemaker.get_pipes_client()
        ...     return client.run(context=context, create_processing_job_params=REQUEST).get_materialize_result()
        >>> on_aws = SageMakerResource(pipes_bucket="my-bucket")
        >>> on_this_machine = SageMakerResource(
        ...     mode="local",
        ...     local_home="/var/lib/jobs",
        ...     local_buckets={"lake": "/var/lib/lake"},
        ...     local_images={"features:1": ["python", "-m", "features"]},
        ... )
        >>> defs = dg.Definitions(assets=[features], resources={"sagemaker": on_aws})
    """

    mode: Literal["aws", "local"] = Field(default="aws", description="Where jobs run: on AWS, or on this machine.")
    region_name: str | None = Field(default=None, description="AWS region; None for the one of boto3's session.")
    profile_name: str | None = Field(default=None, description="Profile of AWS's shared configuration files.")
    pipes_bucket: str = Field(default="", description="On AWS: S3 bucket for Pipes context and messages.")
    pipes_prefix: str = Field(default="dagster-pipes", description="On AWS: key prefix below which Pipes writes.")
    local_home: str = Field(default="", description="Local mode: folder of all jobs and models.")
    local_buckets: dict[str, str] = Field(default={}, description="Local mode: bucket names and their folders.")
    local_images: dict[str, list[str]] = Field(
        default={}, description="Local mode: image URIs and the command lines of their entry points."
    )
    local_stop_grace: float = Field(default=120.0, description="Local mode: seconds between SIGTERM and SIGKILL.")
    poll_interval: float | None = Field(
        default=None, description="Seconds between two polls of a job; None for 15 on AWS and 0.5 in local mode."
    )
    patience: float = Field(
        default=DEFAULT_PATIENCE_SECONDS, description="Seconds of throttling or of a lost network that are waited out."
    )
    forward_termination: bool = Field(default=True, description="Whether a cancelled run stops its job.")
    follow_logs: bool = Field(default=True, description="Whether a job's log is copied to the step's output.")
    prices: dict[str, float] = Field(
        default={}, description="USD per instance hour by instance type, to estimate a job's cost."
    )

    def get_client(self) -> SageMakerClient:
        """Return a boto3 SageMaker client."""
        if self.mode == "local":
            return self._local_runner().client("sagemaker", _once())
        return self._session().client("sagemaker", config=_once())

    def get_logs_client(self) -> CloudWatchLogsClient:
        """Return a boto3 CloudWatch Logs client, which reads the logs of the jobs."""
        if self.mode == "local":
            return self._local_runner().client("logs", _once())
        return self._session().client("logs", config=_once())

    def get_pipes_client(self) -> PipesSageMakerClient:
        """Return a client for Processing and Training jobs that report through Dagster Pipes.

        Raises:
            ValueError: a setting of this mode is missing.
        """
        return PipesSageMakerClient(
            self.get_client(),
            self._pipes_channel(),
            logs_client=self.get_logs_client() if self.follow_logs else None,
            poll_interval=self._poll_seconds(),
            patience=self.patience,
            forward_termination=self.forward_termination,
            prices=self.prices,
        )

    def get_transform_client(self, *, time_limit: float = DEFAULT_TIME_LIMIT_SECONDS) -> SageMakerTransformClient:
        """Return a client for Batch Transform jobs.

        Args:
            time_limit: seconds since its creation after which a job is stopped.

        Raises:
            ValueError: a setting of this mode is missing.
        """
        return SageMakerTransformClient(
            self.get_client(),
            logs_client=self.get_logs_client() if self.follow_logs else None,
            poll_interval=self._poll_seconds(),
            patience=self.patience,
            prices=self.prices,
            time_limit=time_limit,
        )

    def _poll_seconds(self) -> float:
        if self.poll_interval is not None:
            return self.poll_interval
        return _LOCAL_POLL_SECONDS if self.mode == "local" else DEFAULT_POLL_SECONDS

    def _pipes_channel(self) -> PipesChannel:
        if self.mode == "local":
            return LocalPipesChannel(self._home() / "pipes")
        if not self.pipes_bucket:
            raise ValueError("SageMakerResource: on AWS, set pipes_bucket, which carries Pipes context and messages")
        from dagster_sagemaker.pipes_s3_channel import S3PipesChannel  # needs the extra `s3`

        return S3PipesChannel(self._session().client("s3"), self.pipes_bucket, self.pipes_prefix)

    def _local_runner(self) -> LocalSageMaker:
        return LocalSageMaker(
            self._home(),
            buckets={name: Path(folder) for name, folder in self.local_buckets.items()},
            images=self.local_images,
            stop_grace=self.local_stop_grace,
            region=self.region_name or "us-east-1",
        )

    def _home(self) -> Path:
        if not self.local_home:
            raise ValueError("SageMakerResource: in local mode, set local_home, the folder of all jobs")
        return Path(self.local_home)

    def _session(self) -> boto3.session.Session:
        return boto3.session.Session(region_name=self.region_name, profile_name=self.profile_name)


def _once() -> Config:
    # The clients retry by themselves, for longer and less often than botocore.
    return Config(retries={"total_max_attempts": 1})
