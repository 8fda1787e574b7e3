"""A Training job: channels down, the container, the model up.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html. Standard library only.
"""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

from m5_assets.sagemaker.local.container import Ending, command_line
from m5_assets.sagemaker.local.outcome import MAX_REASON_LENGTH, Outcome
from m5_assets.sagemaker.local.run import JobRun

_DEFAULT_CHECKPOINTS = "/opt/ml/checkpoints"


def run(job: JobRun) -> Outcome:
    """Run the job.

    Raises:
        JobFailure: An input is missing, or the entry point cannot be started.
    """
    job.enter("Downloading")
    job.make_folders("input/config", "input/data", "model", "output/data", "checkpoints")
    _write_configuration(job)
    for channel in job.request.get("InputDataConfig", ()):
        source = channel["DataSource"]["S3DataSource"]
        count = job.buckets.download(source, job.ml / "input" / "data" / channel["ChannelName"])
        job.log.write(f"[sagemaker] channel {channel['ChannelName']}: {count} objects of {source['S3Uri']}")
    _download_checkpoints(job)

    job.enter("Training")
    specification = job.request["AlgorithmSpecification"]
    argv = command_line(
        job.entry_point(specification["TrainingImage"]),
        specification.get("ContainerEntrypoint", ()),
        specification.get("ContainerArguments", ()),
        ("train",),
    )
    environment = {
        **job.request.get("Environment", {}),
        "TRAINING_JOB_NAME": job.directory.name,
        "TRAINING_JOB_ARN": job.arn,
    }
    ending, exit_code = job.run_to_the_end(argv, environment)

    job.enter("Uploading")
    _upload_checkpoints(job)
    if ending is Ending.EXITED and exit_code != 0:
        return Outcome("Failed", "Failed", failure_reason=_failure_reason(job, exit_code))
    artifact = f"{_output_prefix(job)}/model.tar.gz"
    # A stopped job's model is uploaded too, if there is one: the grace period is there to save it.
    saved = any((job.ml / "model").iterdir()) or ending is Ending.EXITED
    if saved:
        _upload_archive(job, job.ml / "model", artifact)
    if any((job.ml / "output" / "data").iterdir()):
        _upload_archive(job, job.ml / "output" / "data", f"{_output_prefix(job)}/output.tar.gz")
    if ending is not Ending.EXITED:
        return job.stopped(ending, model_artifact=artifact if saved else "")
    return Outcome("Completed", "Completed", model_artifact=artifact)


def _write_configuration(job: JobRun) -> None:
    job.write_config("input/config/hyperparameters.json", job.request.get("HyperParameters", {}))
    channels = {
        channel["ChannelName"]: {
            "TrainingInputMode": channel.get("InputMode", "File"),
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
        for channel in job.request.get("InputDataConfig", ())
    }
    job.write_config("input/config/inputdataconfig.json", channels)
    job.write_config(
        "input/config/resourceconfig.json",
        {
            "current_host": "algo-1",
            "current_instance_type": job.request["ResourceConfig"].get("InstanceType", ""),
            "hosts": ["algo-1"],
            "network_interface_name": "lo",
        },
    )


def _failure_reason(job: JobRun, exit_code: int) -> str:
    path = job.ml / "output" / "failure"
    text = path.read_text(encoding="utf-8", errors="replace")[:MAX_REASON_LENGTH] if path.is_file() else ""
    return f"AlgorithmError: {text or 'see the log of the job'}, exit code: {exit_code}"


def _checkpoints(job: JobRun) -> tuple[str, Path] | None:
    config = job.request.get("CheckpointConfig")
    return (config["S3Uri"], job.local_path(config.get("LocalPath", _DEFAULT_CHECKPOINTS))) if config else None


def _download_checkpoints(job: JobRun) -> None:
    if (checkpoints := _checkpoints(job)) and any(job.buckets.path(checkpoints[0]).rglob("*")):
        job.buckets.download({"S3DataType": "S3Prefix", "S3Uri": checkpoints[0]}, checkpoints[1])


def _upload_checkpoints(job: JobRun) -> None:
    if checkpoints := _checkpoints(job):
        job.buckets.upload_tree(checkpoints[1], checkpoints[0])


def _output_prefix(job: JobRun) -> str:
    path: str = job.request["OutputDataConfig"]["S3OutputPath"]
    return f"{path.rstrip('/')}/{job.directory.name}/output"


def _upload_archive(job: JobRun, folder: Path, uri: str) -> None:
    archive = job.ml / Path(uri).name
    write_archive(folder, archive)
    job.buckets.upload(archive, uri)


def write_archive(folder: Path, archive: Path) -> None:
    """Write a folder's files as a tar.gz whose bytes depend on their names and contents alone."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size = path.stat().st_size
            info.mode = 0o644
            with path.open("rb") as stream:
                tar.addfile(info, stream)
