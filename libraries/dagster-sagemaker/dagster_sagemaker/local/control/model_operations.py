"""The local runner's operations on models: create, describe, list, delete, tag. Each is `<home>/models/<name>.json`."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster_sagemaker.local.control.listing import list_page
from dagster_sagemaker.local.control.transport import ApiError, Operation
from dagster_sagemaker.local.job_directory import ACCOUNT
from dagster_sagemaker.local.shared_files import locked, read_json, write_json


class ModelApi:
    """SageMaker's operations on the models of one home.

    Args:
        folder: `<home>/models`.
        region: the region in ARNs.
    """

    def __init__(self, folder: Path, region: str):
        self._folder = folder
        self._region = region

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by their API names."""
        return {
            "CreateModel": self.create_model,
            "DescribeModel": self.describe_model,
            "DeleteModel": self.delete_model,
            "ListModels": self.list_models,
        }

    def create_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Store a model."""
        container = request.get("PrimaryContainer", {})
        if "Image" not in container or "ModelDataSource" in container:
            message = "the local runner offers models of one PrimaryContainer with an Image and a ModelDataUrl"
            raise ApiError("ValidationException", message)
        path = self._path(request["ModelName"])
        path.parent.mkdir(parents=True, exist_ok=True)
        arn = f"arn:aws:sagemaker:{self._region}:{ACCOUNT}:model/{request['ModelName'].lower()}"
        model = {**request, "ModelArn": arn, "CreationTime": time.time()}
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", encoding="utf-8") as temporary:
            json.dump(model, temporary)
            temporary.flush()
            try:
                # A link instead of a rename, because it fails if the name is taken.
                path.hardlink_to(temporary.name)
            except FileExistsError as error:
                message = f"Cannot create already existing model {request['ModelName']}"
                raise ApiError("ValidationException", message) from error
        return {"ModelArn": arn}

    def describe_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's request."""
        return {member: value for member, value in self._read(request["ModelName"]).items() if member != "Tags"}

    def delete_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Delete a model; jobs that use it keep their copy."""
        self._read(request["ModelName"])
        self._path(request["ModelName"]).unlink(missing_ok=True)
        return {}

    def list_models(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of the models."""
        models = [read_json(path) for path in self._folder.glob("*.json")]
        summaries = [
            {member: model[member] for member in ("ModelName", "ModelArn", "CreationTime")} for model in models
        ]
        return list_page(request, summaries, name_member="ModelName", status_member=None, results_member="Models")

    def tags(self, name: str, added: list[dict[str, str]]) -> list[dict[str, str]]:
        """Add tags to a model and return all of its tags; the name may be in lower case, as in its ARN."""
        name = next((path.stem for path in self._folder.glob("*.json") if path.stem.lower() == name), name)
        with locked(self._folder / ".lock"):
            model = self._read(name)
            model["Tags"] = merge_tags(model.get("Tags", []), added)
            write_json(self._path(name), model)
        return model["Tags"]  # type: ignore[no-any-return]  # JSON

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return read_json(self._path(name))
        except FileNotFoundError as error:
            raise ApiError("ValidationException", f"Could not find model {name!r}.") from error

    def _path(self, name: str) -> Path:
        if not re.fullmatch(r"[a-zA-Z0-9-]+", name):
            raise ApiError("ValidationException", f"{name!r} is not a model's name")
        return self._folder / f"{name}.json"


def merge_tags(tags: list[dict[str, str]], added: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return tags with others added, which replace tags with the same keys."""
    return list({tag["Key"]: tag for tag in [*tags, *added]}.values())
