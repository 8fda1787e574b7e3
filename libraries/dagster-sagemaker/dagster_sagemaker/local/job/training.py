"""Runs a Training job: downloads channels, runs the containers, uploads the model; again after a spot interruption.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html. Standard library only.
"""

from __future__ import annotations

import time
from pathlib import Path

from dagster_sagemaker.local.job.cluster import Ended, Ending
from dagster_sagemaker.local.job.container import command_line
from dagster_sagemaker.local.job.continuous_uploads import ContinuousUploads
from dagster_sagemaker.local.job.job_run import JobRun
from dagster_sagemaker.local.job.model_archive import merged_files, write_archive
from dagster_sagemaker.local.job.outcome import MAX_REASON_LENGTH, JobFailure, Outcome, exit_reason
from dagster_sagemaker.local.job.s3_objects import StoredObject, download_objects

_DEFAULT_CHECKPOINTS = "/opt/ml/checkpoints"


def run(job: JobRun) -> Outcome:
    """Run the job.

    Raises:
        JobFailure: an input is missing, a container failed, or the platform failed more often than the RetryStrategy
            allows.
        JobStopped: the job was asked to stop while its container was not running.
    """
    retries = job.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
    clock = _Clock(job)
    while True:
        try:
            with job.metered():
                outcome = _attempt(job, clock)
        except JobFailure as failure:
            if not failure.is_internal or retries == 0:
                raise
            retries -= 1
            job.log_line(f"{failure} The job starts again; {retries} more retries are allowed")
            job.enter("Restarting")
        else:
            if outcome is not None:
                return outcome
            job.enter("Interrupted")
            job.log_line("the spot instances were taken away; the job waits for others")
            job.wait(min(job.faults.interruption_seconds, clock.wait_left))
            if clock.wait_left <= 0:
                return clock.exceeded()
            job.enter("Starting")
        job.clear()


class _Clock:
    """The job's two limits: the run time of its containers over all attempts, and the time until its end."""

    def __init__(self, job: JobRun):
        # From here on by a clock that no step of the system's clock changes.
        self._created = time.monotonic() - max(time.time() - job.directory.read_state()["created"], 0.0)
        self._max_run = job.runtime_limit
        self._max_wait = job.request.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds")
        self.ran = 0.0

    @property
    def wait_left(self) -> float:
        """Seconds until the job must end."""
        return float("inf") if self._max_wait is None else self._created + self._max_wait - time.monotonic()

    @property
    def run_left(self) -> float:
        """Seconds that the containers may run now."""
        return min(self._max_run - self.ran, self.wait_left)

    def exceeded(self, model_artifact: str = "") -> Outcome:
        """Return the outcome of a job whose time is up."""
        if self.wait_left <= 0:
            status, limit = "MaxWaitTimeExceeded", self._max_wait
        else:
            status, limit = "MaxRuntimeExceeded", self._max_run
        reason = f"{status}: the job took longer than its limit of {limit} s"
        return Outcome("Stopped", status, failure_reason=reason, model_artifact=model_artifact)


def _attempt(job: JobRun, clock: _Clock) -> Outcome | None:
    """Run the job on new instances; return None if they were interrupted."""
    job.enter("Downloading")
    for instance in job.instances:
        instance.make_folders("input/config", "input/data", "model", "output/data", "checkpoints")
    _write_configuration(job)
    for channel in job.request.get("InputDataConfig", ()):
        name = channel["ChannelName"]
        job.download(channel["DataSource"]["S3DataSource"], f"/opt/ml/input/data/{name}", f"channel {name}")
    checkpoints = _download_checkpoints(job)
    job.enter("Training")
    uploads = ContinuousUploads(job.store, job.scratch, checkpoints, known=True)
    started = time.monotonic()
    try:
        ended = _run_containers(job, clock.run_left)
    finally:
        clock.ran += time.monotonic() - started
        uploads.close()
    if ended.ending is Ending.INTERRUPTED:
        return None
    job.enter("Uploading")
    if ended.ending is Ending.FAILED:
        raise JobFailure(_failure_reason(job, ended))
    artifact = _upload_results(job, ended)
    if ended.ending is Ending.TIMED_OUT:
        return clock.exceeded(artifact)
    return Outcome("Stopped" if ended.ending is Ending.STOPPED else "Completed", model_artifact=artifact)


def _run_containers(job: JobRun, limit: float) -> Ended:
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
    isolated = bool(job.request.get("EnableNetworkIsolation"))
    return job.run_containers(argv, environment, isolated=isolated, limit=limit)


def _write_configuration(job: JobRun) -> None:
    mode = job.request["AlgorithmSpecification"]["TrainingInputMode"]
    channels = {
        channel["ChannelName"]: {
            "TrainingInputMode": channel.get("InputMode", mode),
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
        for channel in job.request.get("InputDataConfig", ())
    }
    for instance in job.instances:
        instance.write_config("input/config/hyperparameters.json", job.request.get("HyperParameters", {}))
        instance.write_config("input/config/inputdataconfig.json", channels)
        instance.write_config(
            "input/config/resourceconfig.json",
            {
                "current_host": instance.host,
                "current_instance_type": job.request.get("ResourceConfig", {}).get("InstanceType", ""),
                "hosts": job.hosts,
                "network_interface_name": "lo",
            },
        )


def _failure_reason(job: JobRun, ended: Ended) -> str:
    path = job.instances[ended.failed].ml / "output" / "failure"
    text = ""
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(MAX_REASON_LENGTH)
    return exit_reason(job.hosts[ended.failed], ended.exit_code, text)


def _download_checkpoints(job: JobRun) -> list[tuple[Path, str]]:
    """Download the checkpoints of earlier attempts; return the folders to watch and the URIs they are stored under."""
    config = job.request.get("CheckpointConfig")
    if config is None:
        return []
    prefix = config["S3Uri"].rstrip("/") + "/"
    objects = [StoredObject(key, prefix + key) for key in job.store.list_keys(prefix)]
    folders = [instance.local_path(config.get("LocalPath", _DEFAULT_CHECKPOINTS)) for instance in job.instances]
    for folder in folders:
        download_objects(job.store, objects, folder, job.check)
    return [(folder, prefix) for folder in folders]


def _upload_results(job: JobRun, ended: Ended) -> str:
    """Upload the model and other output of all instances; return the model's URI, empty if there is none."""
    prefix = f"{job.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{job.directory.name}/output"
    artifact = ""
    # A stopped job's model is stored too, if there is one: the grace period exists to save it.
    for folder, name, needed in (
        ("model", "model.tar.gz", ended.ending is Ending.EXITED),
        ("output/data", "output.tar.gz", False),
    ):
        files, duplicates = merged_files([instance.ml / folder for instance in job.instances])
        for file in duplicates:
            job.log_line(f"WARNING: more than one instance left {folder}/{file}; the first one's is taken")
        if files or needed:
            job.scratch.mkdir(exist_ok=True)
            archive = job.scratch / name
            write_archive(files, archive)
            job.store.upload(archive, f"{prefix}/{name}")
            artifact = artifact or (f"{prefix}/{name}" if folder == "model" else "")
    return artifact
