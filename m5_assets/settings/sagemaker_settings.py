"""Where SageMaker jobs run, on which instances, and what those cost."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from m5_assets.model_specs import JOB_KINDS, MODELS
from m5_assets.settings.per_model_fields import with_fields

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
"""USD per instance hour of Processing, Training and Batch Transform, on demand, in us-east-1, as quoted through 2025 at
https://aws.amazon.com/sagemaker/pricing/. For estimates only: other regions and later prices differ.
"""


def _check_network(subnets: tuple[str, ...], security_group_ids: tuple[str, ...]) -> None:
    if bool(subnets) != bool(security_group_ids):
        raise ValueError("subnets and security_group_ids belong together: set both or neither")


class JobResources(BaseModel):
    """What a job runs on: `M5_SAGEMAKER_<JOB>__<FIELD>`. Empty fields fall back to the settings for all jobs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance_type: str = Field(description="instance type, one that SageMaker offers in the region")
    max_runtime_minutes: int = Field(180, ge=1, le=7200, description="minutes after which the job is stopped")
    kms_key_id: str = Field("", description="KMS key for its volume and outputs; empty: the key of all jobs")
    subnets: tuple[str, ...] = Field(
        (), description="JSON list; its VPC subnets, with SECURITY_GROUP_IDS; empty: those of all jobs"
    )
    security_group_ids: tuple[str, ...] = Field((), description="JSON list; its security groups")
    tags: dict[str, str] = Field(default_factory=dict, description="JSON map; added to the tags of all jobs")

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        _check_network(self.subnets, self.security_group_ids)
        return self


class ProcessingResources(JobResources):
    """What a Processing job runs on."""

    instance_count: int = Field(1, ge=1, le=100, description="instances; the stores are divided among them")
    volume_gb: int = Field(30, ge=1, le=16384, description="disk per instance, in GB")


class TrainingResources(JobResources):
    """What a Training job runs on: always one instance."""

    volume_gb: int = Field(30, ge=1, le=16384, description="disk per instance, in GB")
    spot: bool = Field(False, description="use spot instances; an interrupted job resumes from its checkpoints")
    max_wait_minutes: int = Field(
        360, ge=1, le=43_200, description="longest run time and wait for spot capacity together"
    )

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

    instance_count: int = Field(1, ge=1, le=100, description="instances; the stores are divided among them")


def _text(default: str, description: str) -> tuple[type[str], Any]:
    return str, Field(default, description=description)


def _resources(default: JobResources, description: str) -> tuple[type[JobResources], Any]:
    return type(default), Field(default, description=description)


@with_fields(
    {f"{kind}_role_arn": _text("", f"role of the {kind} jobs; empty: M5_SAGEMAKER_ROLE_ARN") for kind in JOB_KINDS}
    | {f"{kind}_image": _text("", f"image of the {kind} jobs; empty in local mode") for kind in JOB_KINDS}
    | {
        f"{model.name}_training": _resources(
            TrainingResources(instance_type=model.training_instance), f"resources of the {model.label} Training job"
        )
        for model in MODELS
    }
    | {
        f"{model.name}_transform": _resources(
            TransformResources(instance_type=model.transform_instance),
            f"resources of the {model.label} Batch Transform job",
        )
        for model in MODELS
    }
)
class JobSettings(BaseSettings):
    """Where SageMaker jobs run, and on what: `M5_SAGEMAKER_*`."""

    model_config = SettingsConfigDict(
        env_prefix="M5_SAGEMAKER_",
        # M5_SAGEMAKER_FEATURES__INSTANCE_COUNT sets one field and leaves the job's other defaults.
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        extra="ignore",
    )

    mode: Literal["local", "aws"] = Field(
        "local", description="local: jobs run as processes on this machine; aws: on SageMaker"
    )
    region: str = Field("us-east-1", description="AWS region of the jobs")
    role_arn: str = Field("arn:aws:iam::000000000000:role/m5-local", description="execution role of the jobs")
    features: ProcessingResources = Field(
        ProcessingResources(instance_type="ml.m5.2xlarge"), description="resources of the features job, see below"
    )
    kms_key_id: str = Field("", description="KMS key for the volumes and outputs of all jobs")
    subnets: tuple[str, ...] = Field(
        (), description="JSON list; VPC subnets of all jobs, with M5_SAGEMAKER_SECURITY_GROUP_IDS"
    )
    security_group_ids: tuple[str, ...] = Field((), description="JSON list; security groups of all jobs")
    tags: dict[str, str] = Field(default_factory=dict, description="JSON map; tags of all jobs")
    prices: dict[str, float] = Field(
        default_factory=dict,
        description="JSON map; USD per hour by instance type, where the built-in prices do not apply",
    )
    poll_seconds: float = Field(
        15.0, gt=0, le=3_600, description="seconds between status requests on AWS (0.25 in local mode)"
    )

    @model_validator(mode="after")
    def _whole_network(self) -> Self:
        _check_network(self.subnets, self.security_group_ids)
        return self

    def image(self, kind: str) -> str:
        """Return the image of a job kind; empty in local mode."""
        return str(getattr(self, f"{kind}_image"))

    def role(self, kind: str) -> str:
        """Return the role of a job kind: its own, or the role of all jobs."""
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
