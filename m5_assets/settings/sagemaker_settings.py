"""Where SageMaker jobs run, on which instances, and what those cost."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from m5_assets.model_specs import JOB_KINDS, MODELS
from m5_assets.settings.added_fields import with_fields

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


def _text(default: str, description: str) -> tuple[type[str], Any]:
    return str, Field(default, description=description)


@with_fields(
    {f"{kind}_role_arn": _text("", f"role of the {kind} jobs; empty: M5_SAGEMAKER_ROLE_ARN") for kind in JOB_KINDS}
    | {f"{kind}_image": _text("", f"image of the {kind} jobs; empty in local mode") for kind in JOB_KINDS}
    | {
        f"{model.name}_training": (TrainingResources, TrainingResources(instance_type=model.training_instance))
        for model in MODELS
    }
    | {
        f"{model.name}_transform": (TransformResources, TransformResources(instance_type=model.transform_instance))
        for model in MODELS
    }
)
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
    features: ProcessingResources = ProcessingResources(instance_type="ml.m5.2xlarge")
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

    def image(self, kind: str) -> str:
        """Return the image that is set for a job kind."""
        return str(getattr(self, f"{kind}_image"))

    def role(self, kind: str) -> str:
        """Return the role of a job kind: its own, or the one of all jobs."""
        return str(getattr(self, f"{kind}_role_arn")) or self.role_arn

    def training(self, model: str) -> TrainingResources:
        """Return what a model's Training jobs run on."""
        found: TrainingResources = getattr(self, f"{model}_training")
        return found

    def transform(self, model: str) -> TransformResources:
        """Return what a model's Batch Transform jobs run on."""
        found: TransformResources = getattr(self, f"{model}_transform")
        return found

    @model_validator(mode="after")
    def _images_on_aws(self) -> Self:
        missing = [f"{kind}_image" for kind in JOB_KINDS if self.mode == "aws" and not self.image(kind)]
        if missing:
            names = ", ".join(f"M5_SAGEMAKER_{name.upper()}" for name in missing)
            raise ValueError(f"M5_SAGEMAKER_MODE is aws: set {names} to the images' ECR URIs")
        return self
