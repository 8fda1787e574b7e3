"""The responses of Describe and List for a job, from its request and its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagster_sagemaker.job_kinds import PROCESSING, TRAINING, JobKind
from dagster_sagemaker.local.job_directory import JobState

SPOT_SHARE = 0.3
"""Billed seconds per second on spot instances; a placeholder, because AWS's share follows the market."""

_STAGE_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Interrupted": "Training job interrupted: the spot instances were taken away",
    "Restarting": "Restarting the training job after an internal error",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


def describe(kind: JobKind, name: str, arn: str, request: Mapping[str, Any], state: JobState) -> dict[str, Any]:
    """Return the response of a Describe operation."""
    echoed = {member: value for member, value in request.items() if member != "Tags"}
    description = {**echoed, **_common(kind, name, arn, state)}
    if kind is TRAINING:
        description |= _training(request, state)
    return {member: value for member, value in description.items() if value not in (None, "")}


def summarise(kind: JobKind, name: str, arn: str, state: JobState) -> dict[str, Any]:
    """Return a job's entry in the response of a List operation."""
    summary = _common(kind, name, arn, state)
    if kind is TRAINING:
        summary["SecondaryStatus"] = state["transitions"][-1]["stage"]
        for member in ("FailureReason", kind.start_time):
            del summary[member]
    if kind is not PROCESSING:
        summary.pop("ExitMessage", None)
    if kind is not TRAINING:
        del summary[kind.start_time]
    return {member: value for member, value in summary.items() if value not in (None, "")}


def _common(kind: JobKind, name: str, arn: str, state: JobState) -> dict[str, Any]:
    common: dict[str, Any] = {
        kind.job_name: name,
        kind.job_arn: arn,
        kind.job_status: state["status"],
        "CreationTime": state["created"],
        "LastModifiedTime": state["modified"],
        "FailureReason": state.get("failure_reason"),
        kind.start_time: state.get("started"),
        kind.end_time: state.get("ended"),
    }
    if kind is PROCESSING:
        common["ExitMessage"] = state.get("exit_message")
    return common


def _training(request: Mapping[str, Any], state: JobState) -> dict[str, Any]:
    stages = state["transitions"]
    described: dict[str, Any] = {
        "SecondaryStatus": stages[-1]["stage"],
        "SecondaryStatusTransitions": [
            {
                "Status": stage["stage"],
                "StartTime": stage["started"],
                **({"EndTime": stage["ended"]} if "ended" in stage else {}),
                "StatusMessage": _STAGE_MESSAGES[stage["stage"]],
            }
            for stage in stages
        ],
    }
    if state.get("model_artifact"):
        described["ModelArtifacts"] = {"S3ModelArtifacts": state["model_artifact"]}
    if "ended" in state and "started" in state:
        # The service model's minimum for both is 1.
        seconds = max(1, round(state.get("instance_seconds", 0.0)))
        share = SPOT_SHARE if request.get("EnableManagedSpotTraining") else 1.0
        described |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": max(1, round(seconds * share))}
    return described
