"""`LocalSageMaker`: the local runner as its user sees it."""

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

    Jobs are kept under `home`, outlive the process that created them, and are seen by every `LocalSageMaker` with the
    same home. There is no server and no port. Each job has a supervisor process of its own, which keeps SageMaker's
    contract with the job's entry point; the entry point finds the stand-in for `/opt/ml` in `SAGEMAKER_BASE_DIR`, and
    a model server its port in `SAGEMAKER_BIND_TO_PORT`.

    Example:
        >>> runner = LocalSageMaker(
        ...     Path("/var/lib/jobs"),
        ...     buckets={"lake": Path("/var/lib/lake")},
        ...     images={"features:latest": ["python", "-m", "features"]},
        ... )
        >>> client = runner.client("sagemaker")

    Args:
        home: The folder of all jobs and models; created when needed.
        buckets: Bucket names of `s3://` URIs and the folders that stand for them.
        s3_endpoint: The URL of an S3 service, such as `http://127.0.0.1:5000`, instead of folders: jobs read and write
            its objects, with the credentials that boto3 finds when a job is created.
        images: Image URIs and the command lines of their entry points. As with SageMaker, a Training job appends
            `train` and a model server `serve`.
        stop_grace: Seconds between SIGTERM and SIGKILL; SageMaker gives 120.
        region: The region that ARNs name.
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
        """A boto3 client, `sagemaker` or `logs`, whose requests this runner answers.

        Args:
            service: The service.
            config: The client's configuration, such as its retries; None for botocore's own.
        """
        client = make_client(service, self._settings.region, config)
        if service == "logs":
            operations = LogsApi(self._settings.home / "jobs").operations()
        else:
            operations = SageMakerApi(self._settings, client.meta.service_model).operations()
        answer_with(client, operations, FaultPlan(self._settings.home))
        return client
