"""A Processing job: inputs down, the container, outputs up.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html. Standard library
only.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

from m5_assets.sagemaker.local.container import Ending, command_line
from m5_assets.sagemaker.local.outcome import JobFailure, Outcome
from m5_assets.sagemaker.local.run import JobRun

_MAX_MESSAGE_BYTES = 1024
# Members of a request that the container finds as null when absent.
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
        JobFailure: An input is missing, or the container failed.
    """
    request = job.request
    for item in request.get("ProcessingInputs", ()):
        source = item["S3Input"]
        count = job.buckets.download(source, job.local_path(source["LocalPath"]))
        job.log.write(f"[sagemaker] input {item['InputName']}: {count} objects of {source['S3Uri']}")
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", ())
    for item in outputs:
        job.local_path(item["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
    job.make_folders("output", "processing")
    _write_configuration(job)

    application = request["AppSpecification"]
    argv = command_line(
        job.entry_point(application["ImageUri"]),
        application.get("ContainerEntrypoint", ()),
        application.get("ContainerArguments", ()),
        (),
    )
    ending, exit_code = job.run_to_the_end(argv, request.get("Environment", {}))
    try:
        message = _exit_message(job)
    except UnicodeDecodeError as error:
        raise JobFailure("AlgorithmError: /opt/ml/output/message is not UTF-8") from error
    if ending is not Ending.EXITED:
        return job.stopped(ending, exit_message=message)
    if exit_code != 0:
        reason = f"AlgorithmError: the container exited with code {exit_code}; see the job's log"
        return Outcome("Failed", failure_reason=reason, exit_message=message)
    for item in outputs:
        target = item["S3Output"]
        count = job.buckets.upload_tree(job.local_path(target["LocalPath"]), target["S3Uri"])
        job.log.write(f"[sagemaker] output {item['OutputName']}: {count} objects to {target['S3Uri']}")
    return Outcome("Completed", exit_message=message)


def _write_configuration(job: JobRun) -> None:
    config: Mapping[str, Any] = {
        **dict.fromkeys(_CONFIG_MEMBERS),
        **{name: value for name, value in job.request.items() if name != "Tags"},
        "ProcessingJobArn": job.arn,
    }
    job.write_config("config/processingjobconfig.json", config)
    job.write_config("config/resourceconfig.json", {"current_host": "algo-1", "hosts": ["algo-1"]})


def _exit_message(job: JobRun) -> str:
    """The first kilobyte of the message file; a character cut at its end is dropped."""
    path = job.ml / "output" / "message"
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return codecs.getincrementaldecoder("utf-8")().decode(stream.read(_MAX_MESSAGE_BYTES))
