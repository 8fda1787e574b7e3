"""Tags that lead from a job to the Dagster run that follows it, and how a run that adopts a job takes it over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, OpExecutionContext

from dagster_sagemaker.aws_rules import is_tag_character
from dagster_sagemaker.job_api import JobApi

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import TagTypeDef

RUN_TAG = "dagster/run_id"
"""The tag whose value is the id of the run that follows the job."""

_MAX_TAG_LENGTH = 256


def work_identity(context: OpExecutionContext | AssetExecutionContext) -> tuple[str, str | None]:
    """Return the step and the partition that a context works on; of several partitions, the first and the last."""
    partition: str | None = None
    if context.has_partition_key:
        partition = context.partition_key
    elif context.has_partition_key_range:
        keys = context.partition_key_range
        partition = f"{keys.start}-{keys.end}"
    return context.op_execution_context.op.name, partition


def run_tags(context: OpExecutionContext | AssetExecutionContext) -> list[TagTypeDef]:
    """Return the tags that lead from a job to its run, in the characters that AWS allows."""
    step, partition = work_identity(context)
    tags = {RUN_TAG: context.run.run_id, "dagster/step": step, "dagster/partition": partition or ""}
    return [{"Key": key, "Value": _tag_value(value)} for key, value in tags.items() if value]


def take_over(api: JobApi, arn: str, tags: Sequence[TagTypeDef]) -> None:
    """Tag a job that another run created as this run's own."""
    api.add_tags(arn, tags)


def owner(api: JobApi, arn: str) -> str | None:
    """Return the id of the run that follows a job; None for a job that no run created."""
    return next((tag["Value"] for tag in api.tags(arn) if tag["Key"] == RUN_TAG), None)


def _tag_value(value: str) -> str:
    return "".join(c if is_tag_character(c) else "_" for c in value)[:_MAX_TAG_LENGTH]
