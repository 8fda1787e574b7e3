"""Where SageMaker jobs run, on which instances, and what those cost."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PRICES = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.7364,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g5.xlarge": 1.408,
}
"""USD an hour of an instance of Processing, Training and Batch Transform, on demand, in us-east-1, as AWS's page
https://aws.amazon.com/sagemaker/pricing/ was quoted through 2025. Estimates only: other regions and later days differ.
"""


def _check_network(subnets: tuple[str, ...], security_group_ids: tuple[str, ...]) -> None:
    if bool(subnets) != bool(security_group_ids):
        raise ValueError("subnets and security_group_ids belong together: set both or neither")


class JobResources(BaseModel):
    """What a job runs on: `M5_SAGEMAKER_<JOB>__<NAME>`. What is empty here is taken from the platform's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance_type: str = Field(description="one that SageMaker offers in the region")
    max_runtime_minutes: int = Field(180, ge=1, le=7200, description="a job that runs longer is stopped")
    kms_key_id: str = Field("", description="key of its volume and its outputs")
    subnets: tuple[str, ...] = Field((), description="JSON list; its network, with security_group_ids")
    security_group_ids: tuple[str, ...] = Field((), description="JSON list")
    tags: dict[str, str] = Field(default_factory=dict, description="JSON; added to the platform's tags")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        _check_network(self.subnets, self.security_group_ids)
        return self


class ProcessingResources(JobResources):
    """What a Processing job runs on."""

    instance_count: int = Field(1, ge=1, le=100, description="instances that share the stores among them")
    volume_gb: int = Field(30, ge=1, le=16384, description="disk of an instance")


class TrainingResources(JobResources):
    """What a Training job runs on: one instance, for no model here is trained on several."""

    volume_gb: int = Field(30, ge=1, le=16384, description="disk of the instance")
    spot: bool = Field(False, description="spot instances: cheaper, and interrupted at times")
    max_wait_minutes: int = Field(360, ge=1, description="with spot: running and waiting for capacity together")

    @model_validator(mode="after")
    def _wait_covers_runtime(self) -> Self:
        if self.spot and self.max_wait_minutes < self.max_runtime_minutes:
            raise ValueError(
                f"max_wait_minutes={self.max_wait_minutes} must be at least max_runtime_minutes="
                f"{self.max_runtime_minutes}"
            )
        return self


class TransformResources(JobResources):
    """What a Batch Transform job runs on."""

    instance_count: int = Field(1, ge=1, le=100, description="instances that share the stores among them")


class JobSettings(BaseSettings):
    """Where SageMaker jobs run and on what: `M5_SAGEMAKER_*`."""

    model_config = SettingsConfigDict(
        env_prefix="M5_SAGEMAKER_",
        # M5_SAGEMAKER_FEATURES__INSTANCE_COUNT sets one field; the job's other defaults stay.
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        extra="ignore",
    )

    mode: Literal["local", "aws"] = Field("local", description="local: this machine's runner answers; aws: Amazon does")
    region: str = "us-east-1"
    role_arn: str = Field("arn:aws:iam::000000000000:role/m5-local", description="execution role of the jobs")
    features_role_arn: str = Field("", description="role of the features job; empty: M5_SAGEMAKER_ROLE_ARN")
    gbm_role_arn: str = Field("", description="role of the GBM's jobs; empty: M5_SAGEMAKER_ROLE_ARN")
    lstm_role_arn: str = Field("", description="role of the LSTM's jobs; empty: M5_SAGEMAKER_ROLE_ARN")
    totals_role_arn: str = Field("", description="role of the totals' jobs; empty: M5_SAGEMAKER_ROLE_ARN")
    features_image: str = Field("", description="image of the features job; empty in local mode")
    gbm_image: str = ""
    lstm_image: str = ""
    totals_image: str = ""
    features: ProcessingResources = ProcessingResources(instance_type="ml.m5.2xlarge")
    gbm_training: TrainingResources = TrainingResources(instance_type="ml.m5.2xlarge")
    lstm_training: TrainingResources = TrainingResources(instance_type="ml.g4dn.xlarge")
    totals_training: TrainingResources = TrainingResources(instance_type="ml.m5.xlarge")
    gbm_transform: TransformResources = TransformResources(instance_type="ml.m5.xlarge")
    lstm_transform: TransformResources = TransformResources(instance_type="ml.g4dn.xlarge")
    totals_transform: TransformResources = TransformResources(instance_type="ml.m5.large")
    kms_key_id: str = Field("", description="key of all jobs' volumes and outputs")
    subnets: tuple[str, ...] = Field(
        (), description="JSON list; network of all jobs, with M5_SAGEMAKER_SECURITY_GROUP_IDS"
    )
    security_group_ids: tuple[str, ...] = Field((), description="JSON list")
    tags: dict[str, str] = Field(default_factory=dict, description="JSON; tags of all jobs")
    prices: dict[str, float] = Field(
        default_factory=dict, description="JSON; USD an hour by instance type, for those that differ from the built-in"
    )
    poll_seconds: float = Field(15.0, gt=0, description="between two looks at a job on AWS; locally 0.25")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        _check_network(self.subnets, self.security_group_ids)
        return self

    @model_validator(mode="after")
    def _images_on_aws(self) -> Self:
        missing = [
            n
            for n in ("features_image", "gbm_image", "lstm_image", "totals_image")
            if self.mode == "aws" and not getattr(self, n)
        ]
        if missing:
            names = ", ".join(f"M5_SAGEMAKER_{name.upper()}" for name in missing)
            raise ValueError(f"M5_SAGEMAKER_MODE is aws: set {names} to the images' ECR URIs")
        return self
