"""The code location for `chaos_s3`: AWS mode, with SageMaker replaced by the local runner on an S3 service."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.config import Config
from dagster_sagemaker import LocalSageMaker, SageMakerResource

from m5_assets.definitions import build_defs
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import settings


class ServiceOfThisMachine(SageMakerResource):
    """SageMaker in AWS mode, with Pipes through S3, whose jobs run on this machine."""

    def _runner(self) -> LocalSageMaker:
        return LocalSageMaker(
            Path(self.local_home), s3_endpoint=os.environ["AWS_ENDPOINT_URL_S3"], images=self.local_images
        )

    def get_client(self) -> Any:
        """Return the boto3 client that requests go through."""
        return self._runner().client("sagemaker", Config(retries={"mode": "standard", "total_max_attempts": 1}))

    def get_logs_client(self) -> Any:
        """Return the boto3 client that reads the jobs' logs."""
        return self._runner().client("logs")


class JobsOfThisMachine(SageMakerJobs):
    """Jobs requested as in AWS mode but run locally."""

    @cached_property
    def service(self) -> SageMakerResource:
        """SageMaker as these settings describe it."""
        return ServiceOfThisMachine(**super().service.model_dump())


_settings = settings()
defs = build_defs(
    {
        "sagemaker": JobsOfThisMachine(
            home=str(_settings.home), lake=Lake(root=_settings.lake), job_settings=_settings.sagemaker
        )
    }
)
