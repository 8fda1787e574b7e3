"""Turns settings into the parts of SageMaker requests they determine: instances, limits, keys, network, tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dagster_sagemaker.aws_rules import has_local_storage

from m5_assets.settings import JobResources, JobSettings, ProcessingResources, TrainingResources, TransformResources


@dataclass(frozen=True)
class Choices:
    """The settings of one job; those of all jobs apply where its own are empty.

    Attributes:
        platform: the settings of all jobs.
        resources: the job's own settings.
    """

    platform: JobSettings
    resources: JobResources

    @property
    def tags(self) -> list[dict[str, str]]:
        """The request's `Tags`."""
        return [{"Key": k, "Value": v} for k, v in {**self.platform.tags, **self.resources.tags}.items()]

    @property
    def output_key(self) -> dict[str, str]:
        """The output's `KmsKeyId`, if one is set."""
        key = self.resources.kms_key_id or self.platform.kms_key_id
        return {"KmsKeyId": key} if key else {}

    @property
    def vpc(self) -> dict[str, Any]:
        """`VpcConfig`, if a network is set."""
        chosen = self.resources if self.resources.subnets else self.platform
        if not chosen.subnets:
            return {}
        return {"VpcConfig": {"Subnets": list(chosen.subnets), "SecurityGroupIds": list(chosen.security_group_ids)}}

    @property
    def instances(self) -> dict[str, Any]:
        """`InstanceType`, `InstanceCount` and, for a job with its own volume, the volume's size and key."""
        chosen: dict[str, Any] = {"InstanceType": self.resources.instance_type, "InstanceCount": 1}
        if isinstance(self.resources, ProcessingResources | TransformResources):
            chosen["InstanceCount"] = self.resources.instance_count
        if isinstance(self.resources, ProcessingResources | TrainingResources):
            chosen["VolumeSizeInGB"] = self.resources.volume_gb
        # Instances encrypt their local disks themselves, and AWS rejects a key for them.
        if self.output_key and not has_local_storage(self.resources.instance_type):
            chosen["VolumeKmsKeyId"] = self.output_key["KmsKeyId"]
        return chosen

    @property
    def limits(self) -> dict[str, Any]:
        """`StoppingCondition`, and `EnableManagedSpotTraining` for spot instances."""
        limit = {"MaxRuntimeInSeconds": 60 * self.resources.max_runtime_minutes}
        if isinstance(self.resources, TrainingResources) and self.resources.spot:
            limit["MaxWaitTimeInSeconds"] = 60 * self.resources.max_wait_minutes
            return {"StoppingCondition": limit, "EnableManagedSpotTraining": True}
        return {"StoppingCondition": limit}
