"""The code location in AWS mode, its SageMaker answered by the local runner with an S3 service: for `chaos_s3`."""

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.config import Config
from dagster_sagemaker import LocalSageMaker

from m5_assets.definitions import build_defs
from m5_assets.model_specs import JOB_KINDS
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import settings


class JobsOfThisMachine(SageMakerJobs):
    """Jobs in AWS mode, run on this machine."""

    @cached_property
    def _service(self) -> LocalSageMaker:
        programs = {self.image(k): [sys.executable, "-m", f"m5_assets.containers.{k}"] for k in JOB_KINDS}
        return LocalSageMaker(
            Path(self.home, "sagemaker"), s3_endpoint=os.environ["AWS_ENDPOINT_URL_S3"], images=programs
        )

    @cached_property
    def sagemaker(self) -> Any:
        """The boto3 client that requests go through."""
        return self._service.client("sagemaker", Config(retries={"mode": "standard", "total_max_attempts": 1}))

    @cached_property
    def _logs(self) -> Any:
        return self._service.client("logs")


_settings = settings()
defs = build_defs(
    {
        "sagemaker": JobsOfThisMachine(
            home=str(_settings.home), lake=Lake(root=_settings.lake), job_settings=_settings.sagemaker
        )
    }
)
