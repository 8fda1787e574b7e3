"""The parts of SageMaker requests that the settings decide: instances, limits, keys, network, tags.

Here: settings in, members of a request out. Not here: what a job reads, runs and writes (`jobs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dagster_sagemaker.aws_rules import has_local_storage

from m5_assets.settings import JobResources, JobSettings, ProcessingResources, TrainingResources, TransformResources


@dataclass(frozen=True)
class Choices:
    """What a user chose for one job; where the job's own settings are empty, the platform's hold.

    Attributes:
        platform: the settings of all jobs.
        resources: the settings of this job.
    """

    platform: JobSettings
    resources: JobResources

    @property
    def tags(self) -> list[dict[str, str]]:
        """The request's `Tags`."""
        return [{"Key": k, "Value": v} for k, v in {**self.platform.tags, **self.resources.tags}.items()]

    @property
    def output_key(self) -> dict[str, str]:
        """`KmsKeyId` of what the job writes, if one is set."""
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
        """`InstanceType`, `InstanceCount` and, where the job has a disk of its own, its size and key."""
        chosen: dict[str, Any] = {"InstanceType": self.resources.instance_type, "InstanceCount": 1}
        if isinstance(self.resources, ProcessingResources | TransformResources):
            chosen["InstanceCount"] = self.resources.instance_count
        if isinstance(self.resources, ProcessingResources | TrainingResources):
            chosen["VolumeSizeInGB"] = self.resources.volume_gb
        # Local disks are encrypted by the instance itself, and AWS refuses a key for them.
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
