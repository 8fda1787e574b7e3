"""What a finished job tells about itself, as Dagster metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.client import BaseClient
from dagster import MetadataValue

from m5_assets.sagemaker.kinds import PROCESSING, TRAINING, TRANSFORM, JobKind

_CONSOLE_PAGES = {PROCESSING: "processing-jobs", TRAINING: "jobs", TRANSFORM: "transform-jobs"}


def job_metadata(kind: JobKind, description: Mapping[str, Any], *, adopted: bool, client: BaseClient) -> dict[str, Any]:
    """Name, status, time, cost and results of a job.

    Args:
        kind: The job's kind.
        description: The final response of the Describe operation.
        adopted: Whether an earlier run created the job.
        client: The client it was described with; a console link is given only if that speaks to AWS.

    Returns:
        Metadata with keys `sagemaker/…`. Billable seconds are those of all instances together; for spot instances
        they are fewer than the duration.
    """
    resources = kind.resources(description)
    count = resources.get("InstanceCount", 1)
    metadata: dict[str, Any] = {
        "sagemaker/job_name": description[kind.job_name],
        "sagemaker/status": description[kind.job_status],
        "sagemaker/adopted": adopted,
        "sagemaker/instance_type": resources.get("InstanceType"),
        "sagemaker/instance_count": count,
        "sagemaker/exit_message": description.get("ExitMessage"),
        "sagemaker/model_artifact": description.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
    }
    start, end = description.get(kind.start_time), description.get(kind.end_time)
    if start is not None and end is not None:
        duration = (end - start).total_seconds()
        metadata["sagemaker/duration_seconds"] = duration
        metadata["sagemaker/billable_seconds"] = float(description.get("BillableTimeInSeconds", duration) * count)
    if link := _console_link(kind, description, client):
        metadata["sagemaker/console"] = MetadataValue.url(link)
    return {key: value for key, value in metadata.items() if value is not None}


def _console_link(kind: JobKind, description: Mapping[str, Any], client: BaseClient) -> str | None:
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if not host.endswith(".amazonaws.com"):
        return None
    region = client.meta.region_name
    page = f"{_CONSOLE_PAGES[kind]}/{description[kind.job_name]}"
    return f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/{page}"
