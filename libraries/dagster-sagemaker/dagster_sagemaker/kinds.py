"""The three kinds of SageMaker jobs, and how the API names what belongs to each.

Here: names alone, with the standard library alone, for the clients and for the local runner. Not here: behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TERMINAL_STATUSES = frozenset({"Completed", "Failed", "Stopped"})


@dataclass(frozen=True)
class JobKind:
    """One kind of job.

    Attributes:
        title: The word in the API's names: `Processing`, `Training` or `Transform`.
        resources_path: Where a request states its instances.
    """

    title: str
    resources_path: tuple[str, ...]

    @property
    def name(self) -> str:
        """The kind in lower case, as in `create_processing_job`."""
        return self.title.lower()

    @property
    def job_name(self) -> str:
        """The member that holds the job's name."""
        return f"{self.title}JobName"

    @property
    def job_status(self) -> str:
        """The member of the description that holds the status."""
        return f"{self.title}JobStatus"

    @property
    def job_arn(self) -> str:
        """The member that holds the job's ARN."""
        return f"{self.title}JobArn"

    @property
    def start_time(self) -> str:
        """The member of the description with the time its container started."""
        return f"{self.title}StartTime"

    @property
    def end_time(self) -> str:
        """The member of the description with the time the job ended."""
        return f"{self.title}EndTime"

    @property
    def log_group(self) -> str:
        """The CloudWatch log group; a job's streams are named `<job name>/…`."""
        return f"/aws/sagemaker/{self.title}Jobs"

    def operation(self, verb: str) -> str:
        """The API operation of a verb, such as `CreateProcessingJob`."""
        return f"{verb}{self.title}Job"

    def method(self, verb: str) -> str:
        """The boto3 client's method of a verb, such as `create_processing_job`."""
        return f"{verb.lower()}_{self.name}_job"

    def resources(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of a request or description that states `InstanceType` and `InstanceCount`."""
        found: Any = request
        for member in self.resources_path:
            found = found.get(member, {})
        return found if isinstance(found, Mapping) else {}


PROCESSING = JobKind("Processing", ("ProcessingResources", "ClusterConfig"))
TRAINING = JobKind("Training", ("ResourceConfig",))
TRANSFORM = JobKind("Transform", ("TransformResources",))
KINDS: Mapping[str, JobKind] = {kind.name: kind for kind in (PROCESSING, TRAINING, TRANSFORM)}
