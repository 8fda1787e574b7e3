"""What remains of an ended job: Dagster metadata if it completed, an error if it did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from botocore.client import BaseClient
from dagster import MetadataValue

from dagster_sagemaker._dagster import DagsterPipesExecutionError
from dagster_sagemaker.job_api import Description
from dagster_sagemaker.job_kinds import PROCESSING, TRAINING, TRANSFORM, JobKind

Prices = Mapping[str, float]
"""USD per instance hour, by instance type."""

_CONSOLE_PAGES = {PROCESSING: "processing-jobs", TRAINING: "jobs", TRANSFORM: "transform-jobs"}
_TRANSIENT_REASONS = ("CapacityError", "InternalServerError")


class SageMakerJobError(DagsterPipesExecutionError):
    """A job ended with another status than Completed.

    Attributes:
        job_name: the job's name.
        status: `Failed` or `Stopped`.
        description: the final response of the Describe operation.
        log_lines: the last lines of the job's log.
    """

    def __init__(
        self,
        kind: JobKind,
        name: str,
        description: Description,
        log_lines: Sequence[str],
        note: str = "",
        links: Mapping[str, str] | None = None,
    ):
        self.job_name = name
        self.status: str = description[kind.job_status]
        self.description = description
        self.log_lines = list(log_lines)
        parts = [f"SageMaker {kind.name} job {name} ended as {self.status}"]
        parts += [text for text in (note, description.get("FailureReason", "")) if text]
        if message := description.get("ExitMessage"):
            parts.append(f"exit message: {message}")
        parts += [f"{title}: {link}" for title, link in (links or {}).items()]
        if log_lines:
            parts.append("last lines of its log:\n" + "\n".join(log_lines))
        super().__init__("; ".join(parts))

    @property
    def is_transient(self) -> bool:
        """Whether AWS itself failed (no capacity, an internal error), so that another attempt may succeed."""
        reason = str(self.description.get("FailureReason", ""))
        return self.status == "Failed" and reason.startswith(_TRANSIENT_REASONS)


def job_metadata(
    kind: JobKind,
    description: Description,
    *,
    adopted: bool,
    client: BaseClient,
    prices: Prices | None = None,
    describe_calls: int | None = None,
) -> dict[str, Any]:
    """Return the name, status, time, cost and results of a job.

    Args:
        kind: the job's kind.
        description: the final response of the Describe operation.
        adopted: whether an earlier run created the job.
        client: the client it was described with; links to the console are given only if it talks to AWS.
        prices: the instance types to estimate a cost for.
        describe_calls: number of calls that described the job.

    Returns:
        Metadata with keys `sagemaker/…`. Billable seconds add up all instances; on spot instances they are fewer than
        the duration.
    """
    resources = kind.resources(description)
    instance_type, count = resources.get("InstanceType"), resources.get("InstanceCount", 1)
    metadata: dict[str, Any] = {
        "sagemaker/job_name": description[kind.job_name],
        "sagemaker/status": description[kind.job_status],
        "sagemaker/adopted": adopted,
        "sagemaker/instance_type": instance_type,
        "sagemaker/instance_count": count,
        "sagemaker/spot": description.get("EnableManagedSpotTraining"),
        "sagemaker/exit_message": description.get("ExitMessage"),
        "sagemaker/model_artifact": description.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
        "sagemaker/describe_calls": describe_calls,
    }
    start, end = description.get(kind.start_time), description.get(kind.end_time)
    if start is not None and end is not None:
        duration = (end - start).total_seconds()
        billable = float(description.get("BillableTimeInSeconds", duration) * count)
        metadata["sagemaker/duration_seconds"] = duration
        metadata["sagemaker/billable_seconds"] = billable
        price = (prices or {}).get(str(instance_type))
        if price is not None:
            metadata["sagemaker/cost_estimate_usd"] = round(billable / 3600 * price, 4)
    links = job_links(kind, description[kind.job_name], client)
    metadata |= {f"sagemaker/{title}": MetadataValue.url(link) for title, link in links.items()}
    return {key: value for key, value in metadata.items() if value is not None}


def job_links(kind: JobKind, name: str, client: BaseClient) -> dict[str, str]:
    """Return the console pages of a job (`console`) and its log (`log`); none if the client does not talk to AWS."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if not host.endswith(".amazonaws.com"):
        return {}
    region = client.meta.region_name
    base = f"https://{region}.console.aws.amazon.com"
    stream = f"logStream:group={kind.log_group};prefix={name}/;streamFilter=typeLogStreamPrefix"
    return {
        "console": f"{base}/sagemaker/home?region={region}#/{_CONSOLE_PAGES[kind]}/{name}",
        "log": f"{base}/cloudwatch/home?region={region}#{stream}",
    }
