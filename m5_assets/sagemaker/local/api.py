"""The operations of SageMaker that the local runner offers, over the jobs in its home.

Here: what AWS's control plane does (names, validation, status, tags) and the start of a job's supervisor. Not here:
running a job (`supervisor`), and what arrives over HTTP (`transport`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from botocore.model import ServiceModel

from m5_assets.sagemaker.kinds import KINDS, PROCESSING, TERMINAL_STATUSES, TRAINING, TRANSFORM, JobKind
from m5_assets.sagemaker.local.faults import Faults
from m5_assets.sagemaker.local.files import lock_for_life, read_json, write_json
from m5_assets.sagemaker.local.run import ACCOUNT, job_arn
from m5_assets.sagemaker.local.state import JobDirectory, JobState
from m5_assets.sagemaker.local.transport import ApiError, Operation
from m5_assets.sagemaker.validation import RequestValidationError, validate

# What a job inherits of the orchestrator's environment; anything else, secrets above all, stays behind.
_INHERITED = re.compile(r"PATH|HOME|LANG|TMPDIR|PYTHONPATH|VIRTUAL_ENV|[A-Z]+_NUM_THREADS")
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class RunnerSettings:
    """What jobs are run with.

    Attributes:
        home: The folder of all jobs and models.
        buckets: Bucket names and their folders.
        images: Image URIs and the command lines of their entry points.
        stop_grace: Seconds between SIGTERM and SIGKILL.
        region: The region that ARNs name.
    """

    home: Path
    buckets: Mapping[str, Path]
    images: Mapping[str, Sequence[str]]
    stop_grace: float
    region: str


class SageMakerApi:
    """The control plane of one home.

    Args:
        settings: What jobs are run with.
        model: botocore's service model of SageMaker, for the validation of requests.
    """

    def __init__(self, settings: RunnerSettings, model: ServiceModel):
        self._settings = settings
        self._model = model

    def operations(self) -> Mapping[str, Operation]:
        """The operations by their API names."""
        operations: dict[str, Operation] = {
            "CreateModel": self.create_model,
            "DescribeModel": self.describe_model,
            "DeleteModel": self.delete_model,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
        }
        for kind in KINDS.values():
            operations[kind.operation("Create")] = partial(self.create_job, kind)
            operations[kind.operation("Describe")] = partial(self.describe_job, kind)
            operations[kind.operation("Stop")] = partial(self.stop_job, kind)
        return operations

    def create_job(self, kind: JobKind, request: dict[str, Any]) -> dict[str, Any]:
        """Store a job and start its supervisor."""
        self._validate(kind.operation("Create"), request)
        for problem in _unsupported(kind, request):
            raise ApiError("ValidationException", f"the local runner does not support {problem}")
        runner = {
            "buckets": {name: str(Path(folder).resolve()) for name, folder in self._settings.buckets.items()},
            "images": {image: list(argv) for image, argv in self._settings.images.items()},
            "stop_grace": self._settings.stop_grace,
            "region": self._settings.region,
        }
        if "ModelName" in request:
            # A copy: the job keeps its model though somebody deletes the model's entry.
            runner["model"] = self.describe_model({"ModelName": request["ModelName"]})
        name, spot = request[kind.job_name], bool(request.get("EnableManagedSpotTraining"))
        runner["faults"] = Faults(self._settings.home).take_job(kind.name, name, spot=spot)
        directory = self._jobs(kind) / name
        lock = self._store(kind, directory, request, runner)
        try:
            _start_supervisor(directory, lock)
        finally:
            os.close(lock)
        return {kind.job_arn: job_arn(JobDirectory(directory), self._settings.region)}

    def describe_job(self, kind: JobKind, request: Mapping[str, Any]) -> dict[str, Any]:
        """The job's request and state."""
        directory = self._find(kind, request)
        state = directory.refresh_state()
        echoed = {name: value for name, value in directory.read_request().items() if name != "Tags"}
        arn = job_arn(directory, self._settings.region)
        description = {**echoed, kind.job_arn: arn, **_described_state(kind, state)}
        return {name: value for name, value in description.items() if value not in (None, "")}

    def stop_job(self, kind: JobKind, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a running job to stop."""
        directory = self._find(kind, request)
        status = directory.refresh_state()["status"]
        if status in TERMINAL_STATUSES:
            raise ApiError(
                "ValidationException",
                f"The request was rejected because the {kind.name} job is in status {status}.",
            )
        directory.request_stop()
        with directory.change_state() as state:
            if state["status"] == "InProgress":
                state["status"] = state["secondary_status"] = "Stopping"
        return {}

    def create_model(self, request: dict[str, Any]) -> dict[str, Any]:
        """Store a model."""
        self._validate("CreateModel", request)
        if "PrimaryContainer" not in request or "Image" not in request["PrimaryContainer"]:
            message = "the local runner supports models of one PrimaryContainer with an Image"
            raise ApiError("ValidationException", message)
        path = self._model_path(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        arn = f"arn:aws:sagemaker:{self._settings.region}:{ACCOUNT}:model/{request['ModelName'].lower()}"
        model = {**request, "ModelArn": arn, "CreationTime": time.time()}
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", encoding="utf-8") as temporary:
            json.dump(model, temporary)
            temporary.flush()
            try:
                # A link, not a rename: it fails if the name is taken.
                path.hardlink_to(temporary.name)
            except FileExistsError as error:
                message = f"Cannot create already existing model {request['ModelName']}"
                raise ApiError("ValidationException", message) from error
        return {"ModelArn": arn}

    def describe_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The model's request."""
        path = self._model_path(request)
        if not path.exists():
            raise ApiError("ValidationException", f"Could not find model {request['ModelName']!r}.")
        return read_json(path)

    def delete_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Forget a model; jobs that use it keep it."""
        self.describe_model(request)
        self._model_path(request).unlink()
        return {}

    def add_tags(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Add tags to a job, replacing those of the same keys."""
        with self._find_by_arn(request["ResourceArn"]).change_state() as state:
            tags = {tag["Key"]: tag for tag in [*state.get("tags", []), *request["Tags"]]}
            state["tags"] = list(tags.values())
        return {"Tags": state["tags"]}

    def list_tags(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The tags of a job."""
        return {"Tags": self._find_by_arn(request["ResourceArn"]).read_state().get("tags", [])}

    def _validate(self, operation: str, request: Mapping[str, Any]) -> None:
        try:
            validate(self._model, operation, request)
        except RequestValidationError as error:
            raise ApiError("ValidationException", str(error)) from error

    def _jobs(self, kind: JobKind) -> Path:
        return self._settings.home / "jobs" / kind.name

    def _model_path(self, request: Mapping[str, Any]) -> Path:
        name = request["ModelName"]
        if not re.fullmatch(r"[a-zA-Z0-9-]+", name):
            raise ApiError("ValidationException", f"{name!r} is not a model's name")
        return self._settings.home / "models" / f"{name}.json"

    def _find(self, kind: JobKind, request: Mapping[str, Any]) -> JobDirectory:
        name = request[kind.job_name]
        path = self._jobs(kind) / name
        if not re.fullmatch(r"[a-zA-Z0-9-]+", name) or not path.is_dir():
            raise ApiError("ValidationException", f"Could not find requested job with name: {name}")
        return JobDirectory(path)

    def _find_by_arn(self, arn: str) -> JobDirectory:
        kind_name, _, name = arn.rpartition(":")[2].partition("-job/")
        if kind_name not in KINDS:
            raise ApiError("ValidationException", f"{arn} is not the ARN of a job")
        kind = KINDS[kind_name]
        return self._find(kind, {kind.job_name: name})

    def _store(self, kind: JobKind, target: Path, request: Mapping[str, Any], runner: Mapping[str, Any]) -> int:
        """Put a complete job folder in place at once; the descriptor of its lock, held."""
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        now = time.time()
        state = JobState(
            status="InProgress", secondary_status="Starting", created=now, modified=now, tags=request.get("Tags", [])
        )
        write_json(folder / "request.json", request)
        write_json(folder / "runner.json", runner)
        write_json(folder / "state.json", state)
        # Locked before anybody can see the job, so it is never taken for a dead one.
        lock = lock_for_life(folder / "supervisor.lock")
        try:
            folder.rename(target)
        except OSError as error:
            os.close(lock)
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
            if not target.exists():
                raise
            message = f"Job name must be unique within an AWS account and region, and a {kind.name} job with this "
            raise ApiError("ResourceInUse", f"{message}name already exists ({target.name})") from error
        return lock


def _start_supervisor(directory: Path, lock: int) -> None:
    environment = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
    if _PACKAGE_ROOT.name != "site-packages":
        # Not installed: jobs import the code that the orchestrator runs, wherever it was started.
        paths = [str(_PACKAGE_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    with (directory / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "m5_assets.sagemaker.local.supervisor", str(directory)],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock,),
        )
    # Only to reap it: a finished child would else stay a zombie for as long as the orchestrator lives.
    threading.Thread(target=process.wait, daemon=True).start()


def _described_state(kind: JobKind, state: JobState) -> dict[str, Any]:
    described: dict[str, Any] = {
        kind.job_status: state["status"],
        "CreationTime": state["created"],
        "LastModifiedTime": state["modified"],
        "FailureReason": state.get("failure_reason"),
        kind.start_time: state.get("started"),
        kind.end_time: state.get("ended"),
    }
    if kind is PROCESSING:
        described["ExitMessage"] = state.get("exit_message")
    if kind is TRAINING:
        described["SecondaryStatus"] = state["secondary_status"]
        if state.get("model_artifact"):
            described["ModelArtifacts"] = {"S3ModelArtifacts": state["model_artifact"]}
        if "ended" in state and "started" in state:
            seconds = max(1, round(state["ended"] - state["started"]))
            described |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
    return described


def _unsupported(kind: JobKind, request: Mapping[str, Any]) -> Iterator[str]:
    """What AWS would do and this runner does not, so that nothing is ignored silently."""
    if kind.resources(request).get("InstanceCount", 1) > 1:
        yield f"{kind.title} jobs on more than one instance"
    yield from _UNSUPPORTED[kind](request)


def _unsupported_processing(request: Mapping[str, Any]) -> Iterator[str]:
    for item in request.get("ProcessingInputs", ()):
        source = item.get("S3Input")
        if source is None or source.get("S3InputMode", "File") != "File" or _is_compressed(source, "S3CompressionType"):
            yield f"the input {item['InputName']}: only uncompressed S3Input in File mode"
    for item in request.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        if item.get("S3Output", {}).get("S3UploadMode") != "EndOfJob":
            yield f"the output {item['OutputName']}: only S3Output with S3UploadMode EndOfJob"


def _unsupported_training(request: Mapping[str, Any]) -> Iterator[str]:
    specification = request["AlgorithmSpecification"]
    if "TrainingImage" not in specification:
        yield "AlgorithmName: name a TrainingImage"
    for channel in request.get("InputDataConfig", ()):
        piped = channel.get("InputMode", specification["TrainingInputMode"]) == "Pipe"
        if "S3DataSource" not in channel["DataSource"] or piped or _is_compressed(channel, "CompressionType"):
            yield f"the channel {channel['ChannelName']}: only uncompressed S3DataSource, not in Pipe mode"


def _unsupported_transform(request: Mapping[str, Any]) -> Iterator[str]:
    source = request["TransformInput"]
    if _is_compressed(source, "CompressionType"):
        yield "TransformInput.CompressionType"
    if source.get("SplitType", "None") not in ("None", "Line"):
        yield "TransformInput.SplitType other than None and Line"
    if request.get("DataProcessing"):
        yield "DataProcessing"


def _is_compressed(source: Mapping[str, Any], member: str) -> bool:
    return bool(source.get(member, "None") != "None")


_UNSUPPORTED = {
    PROCESSING: _unsupported_processing,
    TRAINING: _unsupported_training,
    TRANSFORM: _unsupported_transform,
}
