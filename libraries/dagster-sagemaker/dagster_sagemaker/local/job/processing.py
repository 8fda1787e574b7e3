"""Runs a Processing job: downloads inputs, runs the containers, uploads outputs.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html. Standard library
only.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster_sagemaker.local.job.cluster import Ended, Ending
from dagster_sagemaker.local.job.container import command_line
from dagster_sagemaker.local.job.continuous_uploads import ContinuousUploads
from dagster_sagemaker.local.job.job_run import JobRun
from dagster_sagemaker.local.job.outcome import JobFailure, JobStopped, Outcome, exit_reason
from dagster_sagemaker.local.job.s3_objects import upload_tree

_MAX_MESSAGE_BYTES = 1024
# Members of the request that are null in the container's file if absent.
_CONFIG_MEMBERS = (
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingJobName",
    "ProcessingResources",
    "StoppingCondition",
    "AppSpecification",
    "Environment",
    "NetworkConfig",
    "RoleArn",
    "Tags",
    "ExperimentConfig",
)


def run(job: JobRun) -> Outcome:
    """Run the job.

    Raises:
        JobFailure: an input is missing, or a container's message is not text.
        JobStopped: the job was asked to stop while inputs or outputs were copied.
    """
    with job.metered():
        for item in job.request.get("ProcessingInputs", ()):
            source = item["S3Input"]
            job.download(source, source["LocalPath"], f"input {item['InputName']}")
        outputs = job.request.get("ProcessingOutputConfig", {}).get("Outputs", ())
        for instance in job.instances:
            for item in outputs:
                instance.local_path(item["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
            instance.make_folders("output", "processing")
        _write_configuration(job)
        uploads = ContinuousUploads(job.store, job.scratch, _continuous(job, outputs))
        try:
            ended = _run_containers(job)
        finally:
            uploads.close()
        return _judge(job, ended, outputs)


def _run_containers(job: JobRun) -> Ended:
    application = job.request["AppSpecification"]
    argv = command_line(
        job.entry_point(application["ImageUri"]),
        application.get("ContainerEntrypoint", ()),
        application.get("ContainerArguments", ()),
        (),
    )
    isolated = bool(job.request.get("NetworkConfig", {}).get("EnableNetworkIsolation"))
    environment = job.request.get("Environment", {})
    return job.run_containers(argv, environment, isolated=isolated, limit=job.runtime_limit)


def _judge(job: JobRun, ended: Ended, outputs: Sequence[Mapping[str, Any]]) -> Outcome:
    message = _exit_message(job)
    if ended.ending is Ending.FAILED:
        reason = exit_reason(job.hosts[ended.failed], ended.exit_code)
        return Outcome("Failed", failure_reason=reason, exit_message=message)
    if ended.ending is Ending.TIMED_OUT:
        reason = f"MaxRuntimeExceeded: the job ran longer than its limit of {job.runtime_limit} s"
        return Outcome("Stopped", failure_reason=reason, exit_message=message)
    if ended.ending is Ending.STOPPED:
        return Outcome("Stopped", exit_message=message)
    try:
        for item in outputs:
            if item["S3Output"]["S3UploadMode"] == "EndOfJob":
                _upload(job, item)
    except JobStopped:
        return Outcome("Stopped", exit_message=message)
    return Outcome("Completed", exit_message=message)


def _upload(job: JobRun, item: Mapping[str, Any]) -> None:
    """Upload an output of all instances; as in S3, of objects with the same key the last one stays."""
    target = item["S3Output"]
    stored: set[str] = set()
    for instance in job.instances:
        keys = upload_tree(job.store, instance.local_path(target["LocalPath"]), target["S3Uri"], job.check)
        for key in stored.intersection(keys):
            job.log_line(
                f"WARNING: output {item['OutputName']}: {instance.host} has replaced {key} of another instance"
            )
        stored.update(keys)
    job.log_line(f"output {item['OutputName']}: {len(stored)} objects to {target['S3Uri']}")


def _continuous(job: JobRun, outputs: Sequence[Mapping[str, Any]]) -> list[tuple[Path, str]]:
    targets = [item["S3Output"] for item in outputs if item["S3Output"]["S3UploadMode"] == "Continuous"]
    return [
        (instance.local_path(target["LocalPath"]), target["S3Uri"]) for instance in job.instances for target in targets
    ]


def _write_configuration(job: JobRun) -> None:
    config: Mapping[str, Any] = {
        **dict.fromkeys(_CONFIG_MEMBERS),
        **{name: value for name, value in job.request.items() if name != "Tags"},
        "ProcessingJobArn": job.arn,
    }
    for instance in job.instances:
        instance.write_config("config/processingjobconfig.json", config)
        instance.write_config("config/resourceconfig.json", {"current_host": instance.host, "hosts": job.hosts})


def _exit_message(job: JobRun) -> str:
    """Return the first kilobyte of each instance's message file, joined; a character cut at the end is dropped."""
    text = ""
    for instance in job.instances:
        path = instance.ml / "output" / "message"
        if path.is_file():
            with path.open("rb") as stream:
                content = stream.read(_MAX_MESSAGE_BYTES)
            try:
                text += codecs.getincrementaldecoder("utf-8")().decode(content)
            except UnicodeDecodeError as error:
                raise JobFailure(f"AlgorithmError: /opt/ml/output/message of {instance.host} is not UTF-8") from error
    return text[:_MAX_MESSAGE_BYTES]
