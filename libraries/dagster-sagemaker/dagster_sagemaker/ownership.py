"""Whose a job is: tags that lead from it to the Dagster run that follows it.

Here: the tags, and how a run that adopts a job takes it over. Not here: what follows from them (`jobs`: a cancelled run
stops its own job only; `sweeper`: the jobs of runs that ended are stopped).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagster import AssetExecutionContext, OpExecutionContext

from dagster_sagemaker.calls import PatientCalls
from dagster_sagemaker.rules import is_tag_character

RUN_TAG = "dagster/run_id"
"""The tag whose value is the id of the run that follows the job."""

_MAX_TAG_LENGTH = 256


def work_identity(context: OpExecutionContext | AssetExecutionContext) -> tuple[str, str | None]:
    """The step and the partition (the first and last of several) that a context works on."""
    partition: str | None = None
    if context.has_partition_key:
        partition = context.partition_key
    elif context.has_partition_key_range:
        keys = context.partition_key_range
        partition = f"{keys.start}-{keys.end}"
    return context.op_execution_context.op.name, partition


def run_tags(context: OpExecutionContext | AssetExecutionContext) -> list[dict[str, str]]:
    """Tags that lead from a job to its run, in the characters that AWS allows."""
    step, partition = work_identity(context)
    tags = {RUN_TAG: context.run.run_id, "dagster/step": step, "dagster/partition": partition or ""}
    return [{"Key": key, "Value": _tag_value(value)} for key, value in tags.items() if value]


def take_over(calls: PatientCalls, arn: str, tags: Sequence[Mapping[str, str]]) -> None:
    """Make a job that somebody else created one's own."""
    calls("add_tags", ResourceArn=arn, Tags=list(tags))


def owner(calls: PatientCalls, arn: str) -> str | None:
    """The id of the run that follows a job; None for a job that no run created."""
    request = {"ResourceArn": arn}
    while True:
        page = calls("list_tags", **request)
        for tag in page["Tags"]:
            if tag["Key"] == RUN_TAG:
                return str(tag["Value"])
        if not page.get("NextToken"):
            return None
        request["NextToken"] = page["NextToken"]


def _tag_value(value: str) -> str:
    return "".join(c if is_tag_character(c) else "_" for c in value)[:_MAX_TAG_LENGTH]
