"""`LocalSageMaker`, the user's class of the local runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from botocore.client import BaseClient
from botocore.config import Config

from dagster_sagemaker.local.control.job_operations import SageMakerApi
from dagster_sagemaker.local.control.log_operations import LogsApi
from dagster_sagemaker.local.control.transport import answer_with, make_client
from dagster_sagemaker.local.fault_plan import FaultPlan
from dagster_sagemaker.local.runner_settings import RunnerSettings

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient


class LocalSageMaker:
    """SageMaker jobs as processes of this machine, behind real boto3 clients.

    Jobs are stored under `home`, outlive the process that created them, and are visible to every `LocalSageMaker` with
    the same home. There is no server and no port. Each job has its own supervisor process, which keeps SageMaker's
    contract with the job's entry point. The entry point finds its `/opt/ml` in `SAGEMAKER_BASE_DIR`, and a model server
    its port in `SAGEMAKER_BIND_TO_PORT`.

    Example:
        >>> runner = LocalSageMaker(
        ...     Path("/var/lib/jobs"),
        ...     buckets={"lake": Path("/var/lib/lake")},
        ...     images={"features:latest": ["python", "-m", "features"]},
        ... )
        >>> client = runner.client("sagemaker")

    Args:
        home: the folder of all jobs and models; created when needed.
        buckets: folders by the bucket names that they stand for.
        s3_endpoint: the URL of an S3 service, such as `http://127.0.0.1:5000`, instead of folders: jobs read and write
            its objects, with the credentials that boto3 finds when a job is created.
        images: command lines of entry points by image URI. As on SageMaker, a Training job appends
            `train` and a model server `serve`.
        stop_grace: seconds between SIGTERM and SIGKILL; SageMaker uses 120.
        region: the region in ARNs.
    """

    def __init__(
        self,
        home: Path,
        *,
        images: Mapping[str, Sequence[str]],
        buckets: Mapping[str, Path] | None = None,
        s3_endpoint: str = "",
        stop_grace: float = 120.0,
        region: str = "us-east-1",
    ):
        if (buckets is None) == (not s3_endpoint):
            raise ValueError("LocalSageMaker: give buckets (folders) or s3_endpoint (a service), one of both")
        self._settings = RunnerSettings(home.resolve(), buckets or {}, s3_endpoint, images, stop_grace, region)

    @overload
    def client(self, service: Literal["sagemaker"], config: Config | None = None) -> SageMakerClient: ...

    @overload
    def client(self, service: Literal["logs"], config: Config | None = None) -> CloudWatchLogsClient: ...

    def client(self, service: Literal["sagemaker", "logs"], config: Config | None = None) -> BaseClient:
        """Return a boto3 client whose requests this runner answers.

        Args:
            service: `sagemaker` or `logs`.
            config: the client's configuration, such as its retries; None for botocore's default.
        """
        client = make_client(service, self._settings.region, config)
        if service == "logs":
            operations = LogsApi(self._settings.home / "jobs").operations()
        else:
            operations = SageMakerApi(self._settings, client.meta.service_model).operations()
        answer_with(client, operations, FaultPlan(self._settings.home))
        return client
