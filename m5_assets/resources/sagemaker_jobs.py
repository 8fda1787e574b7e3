"""Runs the platform's jobs on SageMaker: a program, its inputs from the lake, and where in the lake it writes.

There is one code path, a boto3 client's requests. On AWS, SageMaker answers them; in local mode, a runner on this
machine does, and starts the same programs as processes. Not here: submitting and following a job (`dagster_sagemaker`).
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_sagemaker import SageMakerJobError, SageMakerResource, SweptJob, sweep
from pydantic import Field

import m5_assets
from m5_assets.model_specs import JOB_KINDS
from m5_assets.resources.job_requests import Choices
from m5_assets.resources.lake import LOCAL_BUCKET, Lake
from m5_assets.settings import PRICES, JobSettings

JOB_NAME = "{job_name}"
"""Placeholder for the job's name in a key; each attempt writes to a prefix of its own."""

HEAVY = "heavy"
"""The pool of the steps that load a whole machine, features and training; its limit is M5_HEAVY_JOBS."""

_LOCAL_POLL_SECONDS = 0.25
_CAPACITY_RETRIES = 3
_RETRY_POLLS = 8
_SWEEP_GRACE_SECONDS = 600.0
_SEEN_ENDED: dict[str, float] = {}
"""When this process first saw that a run had ended, by its monotonic clock."""
_PARQUET = "application/x-parquet"


@dataclass(frozen=True)
class JobInput:
    """An input of a job: a folder of the lake, or an S3 manifest that lists single files.

    Attributes:
        key: key of the folder or manifest.
        manifest: whether the key is a manifest.
    """

    key: str
    manifest: bool = False


@dataclass(frozen=True)
class JobOutcome:
    """A completed job.

    Attributes:
        prefixes: key prefixes of its outputs, by name.
        metadata: what the program reported, and figures of the job itself.
        description: SageMaker's description of the job.
    """

    prefixes: Mapping[str, str]
    metadata: Mapping[str, Any]
    description: Mapping[str, Any]

    @property
    def prefix(self) -> str:
        """The key prefix of the output, for a job with only one."""
        (only,) = self.prefixes.values()
        return only


class SageMakerJobs(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """Runs the platform's jobs on SageMaker or, with the same requests, on this machine."""

    home: str = Field(description="folder of the local runner's state")
    lake: dg.ResourceDependency[Lake]
    """The lake that jobs read from and write to."""
    job_settings: dg.ResourceDependency[JobSettings]
    """Where jobs run, and on which instances."""

    @property
    def _local(self) -> bool:
        return self.job_settings.mode == "local"

    @cached_property
    def service(self) -> SageMakerResource:
        """The SageMaker resource for these settings."""
        settings = self.job_settings
        bucket, _, prefix = self.lake.root.removeprefix("s3://").partition("/")
        programs = {self.image(kind): [sys.executable, "-m", f"m5_assets.containers.{kind}"] for kind in JOB_KINDS}
        return SageMakerResource(
            mode=settings.mode,
            region_name=settings.region,
            pipes_bucket=bucket,
            pipes_prefix=f"{prefix}/pipes".lstrip("/"),
            local_home=str(Path(self.home, "sagemaker")),
            local_buckets={LOCAL_BUCKET: self.lake.root},
            local_images=programs,
            poll_interval=self._poll,
            prices={**PRICES, **settings.prices},
        )

    @property
    def _poll(self) -> float:
        return _LOCAL_POLL_SECONDS if self._local else self.job_settings.poll_seconds

    def image(self, kind: str) -> str:
        """Return the image of a job kind; in local mode its tag is a digest of the programs' source."""
        return f"m5-{kind}:{_source_version()}" if self._local else self.job_settings.image(kind)

    def role_arn(self, kind: str) -> str:
        """Return the IAM role of a job kind: its own, or the one for all jobs."""
        return self.job_settings.role(kind)

    def process(
        self,
        context: dg.AssetExecutionContext,
        kind: str,
        *,
        arguments: Sequence[str],
        inputs: Mapping[str, JobInput],
        outputs: Mapping[str, str],
    ) -> JobOutcome:
        """Run a Processing job. Every instance gets all inputs; the program divides the work.

        Args:
            context: the asset's context.
            kind: the job kind.
            arguments: the program's arguments.
            inputs: the inputs by name.
            outputs: key prefixes of at most ten outputs by name, each with `JOB_NAME` in it.
        """
        chosen = Choices(self.job_settings, self.job_settings.features)
        params = {
            "RoleArn": self.role_arn(kind),
            "AppSpecification": {"ImageUri": self.image(kind), "ContainerArguments": list(arguments)},
            "ProcessingInputs": [
                {
                    "InputName": name,
                    "S3Input": {
                        "S3Uri": self._uri(source),
                        "LocalPath": f"/opt/ml/processing/input/{name}",
                        "S3DataType": "ManifestFile" if source.manifest else "S3Prefix",
                        "S3DataDistributionType": "FullyReplicated",
                        "S3InputMode": "File",
                    },
                }
                for name, source in inputs.items()
            ],
            "ProcessingOutputConfig": {
                **chosen.output_key,
                "Outputs": [
                    {
                        "OutputName": name,
                        "S3Output": {
                            "S3Uri": self.lake.uri(prefix),
                            "LocalPath": f"/opt/ml/processing/output/{name}",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                    for name, prefix in outputs.items()
                ],
            },
            "ProcessingResources": {"ClusterConfig": chosen.instances},
            **chosen.limits,
            **({"NetworkConfig": chosen.vpc} if chosen.vpc else {}),
            "Tags": chosen.tags,
        }
        with self._retried():
            done = self.service.get_pipes_client().run(
                context=context,
                create_processing_job_params=params,
                adopt_completed=self._still_there(outputs, "Processing"),
            )
        return self._outcome(
            outputs, done.description["ProcessingJobName"], done.get_materialize_result(), done.description
        )

    def train(
        self,
        context: dg.AssetExecutionContext,
        kind: str,
        *,
        channels: Mapping[str, str],
        hyperparameters: Mapping[str, str],
        prefix: str,
    ) -> JobOutcome:
        """Run a Training job on folders of the lake; SageMaker writes `prefix/<job>/output/model.tar.gz`.

        Checkpoints outlive the job, so an attempt after a failed or stopped one resumes from them.
        """
        chosen = Choices(self.job_settings, self.job_settings.training(kind))
        work = json.dumps([self.image(kind), dict(hyperparameters), dict(channels)], sort_keys=True)
        checkpoints = f"{prefix}/checkpoints/{hashlib.sha256(work.encode()).hexdigest()[:12]}"
        params = {
            "RoleArn": self.role_arn(kind),
            "AlgorithmSpecification": {"TrainingImage": self.image(kind), "TrainingInputMode": "File"},
            "HyperParameters": dict(hyperparameters),
            "InputDataConfig": [
                {
                    "ChannelName": name,
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": self.lake.uri(f"{key}/"),
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
                for name, key in channels.items()
            ],
            "OutputDataConfig": {"S3OutputPath": self.lake.uri(prefix), **chosen.output_key},
            "CheckpointConfig": {"S3Uri": self.lake.uri(checkpoints)},
            "ResourceConfig": chosen.instances,
            **chosen.limits,
            **chosen.vpc,
            "Tags": chosen.tags,
        }
        written = {"model": f"{prefix}/{JOB_NAME}"}
        with self._retried():
            done = self.service.get_pipes_client().run(
                context=context,
                create_training_job_params=params,
                adopt_completed=self._still_there(written, "Training"),
            )
        return self._outcome(
            written, done.description["TrainingJobName"], done.get_materialize_result(), done.description
        )

    def transform(
        self, context: dg.AssetExecutionContext, kind: str, *, model_key: str, input_key: str, prefix: str
    ) -> JobOutcome:
        """Run a Batch Transform job over the objects of a folder; the answers are written as `prefix/<object>.out`.

        SageMaker divides the objects among the instances.
        """
        chosen = Choices(self.job_settings, self.job_settings.transform(kind))
        model = {
            "PrimaryContainer": {"Image": self.image(kind), "ModelDataUrl": self.lake.uri(model_key)},
            "ExecutionRoleArn": self.role_arn(kind),
            **chosen.vpc,
            "Tags": chosen.tags,
        }
        params = {
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": self.lake.uri(f"{input_key}/")}},
                "ContentType": _PARQUET,
                "SplitType": "None",
                "CompressionType": "None",
            },
            "TransformOutput": {
                "S3OutputPath": self.lake.uri(prefix),
                "Accept": _PARQUET,
                "AssembleWith": "None",
                **chosen.output_key,
            },
            "TransformResources": chosen.instances,
            "BatchStrategy": "SingleRecord",
            "MaxPayloadInMB": 100,
            "MaxConcurrentTransforms": 1,
            "Tags": chosen.tags,
        }
        # CreateTransformJob has no time limit of its own.
        transforms = self.service.get_transform_client(time_limit=60.0 * chosen.resources.max_runtime_minutes)
        written = {"answers": prefix}
        with self._retried():
            done = transforms.run(
                context=context,
                create_model_params=model,
                create_transform_job_params=params,
                adopt_completed=self._still_there(written, "Transform"),
            )
        metadata: dg.MaterializeResult[Any] = dg.MaterializeResult(metadata=done.metadata)
        return self._outcome(written, done.description["TransformJobName"], metadata, done.description)

    @contextmanager
    def _retried(self) -> Iterator[None]:
        """Request a retry if AWS could not run the job; a program's own failure would only repeat, and cost again.

        Raises:
            dg.Failure: the program failed; the jobs' retry policy does not apply to it.
        """
        try:
            yield
        except SageMakerJobError as error:
            if not error.is_transient:
                raise dg.Failure(description=str(error), allow_retries=False) from error
            raise dg.RetryRequested(_CAPACITY_RETRIES, seconds_to_wait=_RETRY_POLLS * self._poll) from error

    def stop_orphans(self, instance: dg.DagsterInstance) -> list[SweptJob]:
        """Stop running jobs whose run ended a while ago, such as after a killed process; see `sweep`."""
        return sweep(self.service.get_client(), lambda run_id: run_has_ended(instance, run_id))

    def _uri(self, source: JobInput) -> str:
        return self.lake.uri(source.key if source.manifest else f"{source.key}/")

    def _is_intact(self, prefix: str) -> bool:
        """Return whether a job's files are there, and those that the week's manifest names are as it says."""
        dataset, _, rest = prefix.partition("/")
        week = rest.partition("/")[0]
        manifest = self.lake.find(dataset, week.removeprefix("week=")) if week.startswith("week=") else None
        known = [file for file in manifest.files if file.key.startswith(f"{prefix}/")] if manifest else []
        return bool(self.lake.list(prefix)) and self.lake.is_intact(known)

    def _still_there(self, prefixes: Mapping[str, str], kind: str) -> Any:
        """Return a function that checks whether a completed job's outputs are still in the lake, as they were."""

        def usable(description: Mapping[str, Any]) -> bool:
            return all(map(self._is_intact, _resolved(prefixes, description[f"{kind}JobName"]).values()))

        return usable

    @staticmethod
    def _outcome(
        prefixes: Mapping[str, str],
        name: str,
        result: dg.MaterializeResult[Any],
        description: Mapping[str, Any],
    ) -> JobOutcome:
        return JobOutcome(_resolved(prefixes, name), dict(result.metadata or {}), description)


def _resolved(prefixes: Mapping[str, str], job_name: str) -> dict[str, str]:
    return {output: prefix.replace(JOB_NAME, job_name) for output, prefix in prefixes.items()}


def run_has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run of this instance ended at least ten minutes ago, too long for a retry to adopt its job.

    Counted from when this process first saw it ended, so that a step of the system's clock stops no job that a retry
    is about to adopt. A run that is unknown here may belong to another instance on the same AWS account and still be
    running.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or not run.is_finished:
        return False
    now = time.monotonic()
    return now - _SEEN_ENDED.setdefault(run_id, now) > _SWEEP_GRACE_SECONDS


def _source_version() -> str:
    """Return a digest of the programs' source, so that a job runs again after its code has changed."""
    root = Path(m5_assets.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.glob("forecasting/**/*.py"), *root.glob("containers/**/*.py")]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
