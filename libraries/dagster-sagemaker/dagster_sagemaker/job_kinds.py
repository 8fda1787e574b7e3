"""The three kinds of SageMaker jobs, and what the API calls the members of each.

Standard library only, because the clients and the local runner's processes share it.
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
        title: the word in the API's names: `Processing`, `Training` or `Transform`.
        resources_path: where a request states its instances.
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
        """The member of the description with the time at which the container started."""
        return f"{self.title}StartTime"

    @property
    def end_time(self) -> str:
        """The member of the description with the time at which the job ended."""
        return f"{self.title}EndTime"

    @property
    def log_group(self) -> str:
        """The CloudWatch log group; a job's streams are named `<job name>/…`."""
        return f"/aws/sagemaker/{self.title}Jobs"

    def operation(self, verb: str) -> str:
        """Return the name of an API operation, such as `CreateProcessingJob`."""
        return f"{verb}{self.title}Job"

    def resources(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the part of a request or description that states `InstanceType` and `InstanceCount`."""
        found: Any = request
        for member in self.resources_path:
            found = found.get(member, {})
        return found if isinstance(found, Mapping) else {}


PROCESSING = JobKind("Processing", ("ProcessingResources", "ClusterConfig"))
TRAINING = JobKind("Training", ("ResourceConfig",))
TRANSFORM = JobKind("Transform", ("TransformResources",))
KINDS: Mapping[str, JobKind] = {kind.name: kind for kind in (PROCESSING, TRAINING, TRANSFORM)}
