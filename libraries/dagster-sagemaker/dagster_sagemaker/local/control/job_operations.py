"""The local runner's operations on jobs: create, describe, list, stop, tag."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from botocore.model import ServiceModel

from dagster_sagemaker.job_kinds import KINDS, TERMINAL_STATUSES, JobKind
from dagster_sagemaker.local.control.descriptions import describe, summarise
from dagster_sagemaker.local.control.launch import launch
from dagster_sagemaker.local.control.listing import list_page
from dagster_sagemaker.local.control.model_operations import ModelApi, merge_tags
from dagster_sagemaker.local.control.transport import ApiError, Operation
from dagster_sagemaker.local.control.unsupported_requests import problems
from dagster_sagemaker.local.fault_plan import FaultPlan
from dagster_sagemaker.local.job_directory import JobDirectory, enter_stage
from dagster_sagemaker.local.runner_settings import RunnerSettings
from dagster_sagemaker.validation import RequestValidationError, validate


class SageMakerApi:
    """SageMaker's operations over the jobs and models of one home.

    Args:
        settings: the runner's settings.
        model: botocore's service model of SageMaker, to validate requests with.
    """

    def __init__(self, settings: RunnerSettings, model: ServiceModel):
        self._settings = settings
        self._model = model
        self._models = ModelApi(settings.home / "models", settings.region)
        self._faults = FaultPlan(settings.home)

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by their API names; each validates its request first."""
        operations: dict[str, Operation] = {
            **self._models.operations(),
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
        }
        for kind in KINDS.values():
            operations[kind.operation("Create")] = partial(self.create_job, kind)
            operations[kind.operation("Describe")] = partial(self.describe_job, kind)
            operations[kind.operation("Stop")] = partial(self.stop_job, kind)
            operations[kind.operation("List") + "s"] = partial(self.list_jobs, kind)
        return {name: self._validating(name, operation) for name, operation in operations.items()}

    def create_job(self, kind: JobKind, request: dict[str, Any]) -> dict[str, Any]:
        """Store a job and start its supervisor."""
        found = list(problems(kind, request))
        if found:
            raise ApiError("ValidationException", "; ".join(found))
        name = request[kind.job_name]
        directory = self._jobs(kind) / name
        taken = ApiError("ResourceInUse", f"A {kind.name} job of the name {name} already exists in this account")
        # Checked before the faults are taken, so that a rejected request uses up none.
        if directory.exists():
            raise taken
        runner = self._settings.for_job()
        if "ModelName" in request:
            # A copy, so that the job keeps its model even if the model is deleted.
            runner["model"] = self._models.describe_model({"ModelName": request["ModelName"]})
        spot = bool(request.get("EnableManagedSpotTraining"))
        runner["faults"] = self._faults.take_job(kind.name, name, spot=spot)
        try:
            launch(self._settings, directory, request, runner)
        except FileExistsError as error:
            raise taken from error
        return {kind.job_arn: JobDirectory(directory).arn(self._settings.region)}

    def describe_job(self, kind: JobKind, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the description of a job."""
        directory = self._find(kind, request[kind.job_name])
        state = directory.refresh_state()
        return describe(kind, directory.name, directory.arn(self._settings.region), directory.read_request(), state)

    def list_jobs(self, kind: JobKind, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of the jobs of a kind."""
        summaries = (
            summarise(kind, directory.name, directory.arn(self._settings.region), directory.refresh_state())
            for directory in self._all_jobs(kind)
        )
        return list_page(
            request,
            summaries,
            name_member=kind.job_name,
            status_member=kind.job_status,
            results_member=f"{kind.title}JobSummaries",
        )

    def stop_job(self, kind: JobKind, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a running job to stop."""
        directory = self._find(kind, request[kind.job_name])
        status = directory.refresh_state()["status"]
        if status in TERMINAL_STATUSES:
            raise ApiError(
                "ValidationException",
                f"The request was rejected because the {kind.name} job is in status {status}.",
            )
        directory.request_stop()
        with directory.change_state() as state:
            if state["status"] == "InProgress":
                state["status"] = "Stopping"
                enter_stage(state, "Stopping")
        return {}

    def add_tags(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Add tags to a job or a model; they replace tags with the same keys."""
        return {"Tags": self._tags(request["ResourceArn"], request["Tags"])}

    def list_tags(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tags of a job or a model."""
        return {"Tags": self._tags(request["ResourceArn"], [])}

    def _tags(self, arn: str, added: list[dict[str, str]]) -> list[dict[str, str]]:
        sort, _, name = arn.rpartition(":")[2].partition("/")
        if sort == "model":
            return self._models.tags(name, added)
        kind = KINDS.get(sort.removesuffix("-job"))
        if kind is None:
            raise ApiError("ValidationException", f"{arn} is not the ARN of a job or a model")
        directory = self._find(kind, name)
        if not added:
            return directory.read_state().get("tags", [])
        with directory.change_state() as state:
            state["tags"] = merge_tags(state.get("tags", []), added)
        return state["tags"]

    def _validating(self, name: str, operation: Operation) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
        def validated(request: dict[str, Any]) -> Mapping[str, Any]:
            try:
                validate(self._model, name, request)
            except RequestValidationError as error:
                raise ApiError("ValidationException", str(error)) from error
            return operation(request)

        return validated

    def _jobs(self, kind: JobKind) -> Path:
        return self._settings.home / "jobs" / kind.name

    def _all_jobs(self, kind: JobKind) -> Iterator[JobDirectory]:
        # A name that begins with a dot belongs to a job that is being created.
        for path in self._jobs(kind).glob("[!.]*"):
            yield JobDirectory(path)

    def _find(self, kind: JobKind, name: str) -> JobDirectory:
        path = self._jobs(kind) / name
        if not re.fullmatch(r"[a-zA-Z0-9-]+", name) or not path.is_dir():
            raise ApiError("ValidationException", f"Could not find requested job with name: {name}")
        return JobDirectory(path)
