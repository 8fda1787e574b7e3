"""A local SageMaker in a temporary folder, with images made of small scripts."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from botocore.exceptions import ClientError
from dagster_sagemaker import LocalSageMaker
from dagster_sagemaker.job_kinds import KINDS, TERMINAL_STATUSES, JobKind

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient

ROLE = "arn:aws:iam::123456789012:role/jobs"
PREAMBLE = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
"""

_T = TypeVar("_T")


def eventually(look: Callable[[], _T | None], seconds: float = 60.0) -> _T:
    """The first true value that a look gives, before a deadline."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return found


class Lab:
    """A folder with a lake, scripts that stand for images, and a local SageMaker over both."""

    def __init__(self, root: Path):
        self.root = root
        self.lake = root / "lake"
        self.lake.mkdir(exist_ok=True)
        self.images: dict[str, list[str]] = {}

        self.sagemaker, self.logs = self.new_clients()

    @property
    def runner(self) -> LocalSageMaker:
        """The runner, as another orchestrator with the same home would have it."""
        return LocalSageMaker(self.root / "home", buckets={"lake": self.lake}, images=self.images, stop_grace=1.0)

    def new_clients(self) -> tuple[SageMakerClient, CloudWatchLogsClient]:
        """Clients as another orchestrator with the same home would have them."""
        return self.runner.client("sagemaker"), self.runner.client("logs")

    def image(self, name: str, source: str) -> str:
        """An image whose entry point is a script; `base` is its /opt/ml."""
        script = self.root / f"{name}.py"
        script.write_text(PREAMBLE + textwrap.dedent(source))
        self.images[name] = [sys.executable, str(script)]
        return name

    def put(self, key: str, text: str) -> str:
        """An object in the lake; its URI."""
        path = self.lake / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return f"s3://lake/{key}"

    def processing(self, image: str, **members: Any) -> dict[str, Any]:
        """The request of a Processing job without its name, that reads s3://lake/in/ and writes s3://lake/out/."""
        return {
            "RoleArn": ROLE,
            "AppSpecification": {"ImageUri": image},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
            },
            "ProcessingInputs": [processing_input("s3://lake/in/")],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "out",
                        "S3Output": {
                            "S3Uri": "s3://lake/out/{job_name}",
                            "LocalPath": "/opt/ml/processing/out",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            **members,
        }

    def training(self, image: str, **members: Any) -> dict[str, Any]:
        """The request of a Training job without its name, with one channel of s3://lake/in/."""
        return {
            "RoleArn": ROLE,
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "InputDataConfig": [
                {
                    "ChannelName": "train",
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/"}},
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **members,
        }

    def transform(self, **members: Any) -> dict[str, Any]:
        """The request of a Transform job without its names, over s3://lake/in/."""
        return {
            "TransformInput": {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/"}}},
            "TransformOutput": {"S3OutputPath": "s3://lake/out/{job_name}"},
            "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m5.large"},
            **members,
        }

    def create(self, kind: str, name: str, request: dict[str, Any]) -> None:
        creations: dict[str, Callable[..., object]] = {
            "processing": self.sagemaker.create_processing_job,
            "training": self.sagemaker.create_training_job,
            "transform": self.sagemaker.create_transform_job,
        }
        creations[kind](**{KINDS[kind].job_name: name}, **request)

    def describe(self, kind: str, name: str) -> dict[str, Any]:
        descriptions: dict[str, Callable[..., Any]] = {
            "processing": self.sagemaker.describe_processing_job,
            "training": self.sagemaker.describe_training_job,
            "transform": self.sagemaker.describe_transform_job,
        }
        return dict(descriptions[kind](**{KINDS[kind].job_name: name}))

    def finish(self, kind: str, name: str) -> dict[str, Any]:
        """The description of a job once it has ended."""
        status = KINDS[kind].job_status

        def ended() -> dict[str, Any] | None:
            description = self.describe(kind, name)
            return description if description[status] in TERMINAL_STATUSES else None

        return eventually(ended)

    def run(self, kind: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        self.create(kind, name, request)
        return self.finish(kind, name)

    def log(self, kind: str, name: str) -> list[str]:
        """All lines of a job's log."""
        group, logs = KINDS[kind].log_group, self.logs
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        return [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    def await_log(self, kind: str, name: str, line: str) -> None:
        eventually(lambda: line in self.log(kind, name))

    def jobs(self, kind: str) -> list[str]:
        """The names of all jobs of a kind that were ever created."""
        folder = self.root / "home" / "jobs" / kind
        return sorted(path.name for path in folder.glob("[!.]*")) if folder.exists() else []

    def stop_everything(self) -> None:
        for kind in KINDS.values():
            for name in self.jobs(kind.name):
                # It may end by itself meanwhile.
                with suppress(ClientError):
                    stop(self.sagemaker, kind, name)
                self.finish(kind.name, name)


def stop(client: SageMakerClient, kind: JobKind, name: str) -> None:
    stops: dict[str, Callable[..., object]] = {
        "processing": client.stop_processing_job,
        "training": client.stop_training_job,
        "transform": client.stop_transform_job,
    }
    stops[kind.name](**{kind.job_name: name})


def processing_input(uri: str, data_type: str = "S3Prefix", name: str = "in") -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            "S3Uri": uri,
            "LocalPath": f"/opt/ml/processing/{name}",
            "S3DataType": data_type,
            "S3InputMode": "File",
        },
    }


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    found = Lab(tmp_path)
    yield found
    found.stop_everything()
