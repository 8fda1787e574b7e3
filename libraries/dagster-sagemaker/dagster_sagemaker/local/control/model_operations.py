"""The models of one home, `<home>/models/<name>.json`: created, described, listed, deleted, tagged."""

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
    """The operations of models.

    Args:
        folder: `<home>/models`.
        region: The region that ARNs name.
    """

    def __init__(self, folder: Path, region: str):
        self._folder = folder
        self._region = region

    def operations(self) -> Mapping[str, Operation]:
        """The operations by their API names."""
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
                # A link, not a rename: it fails if the name is taken.
                path.hardlink_to(temporary.name)
            except FileExistsError as error:
                message = f"Cannot create already existing model {request['ModelName']}"
                raise ApiError("ValidationException", message) from error
        return {"ModelArn": arn}

    def describe_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The model's request."""
        return {member: value for member, value in self._read(request["ModelName"]).items() if member != "Tags"}

    def delete_model(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Forget a model; jobs that use it keep it."""
        self._read(request["ModelName"])
        self._path(request["ModelName"]).unlink(missing_ok=True)
        return {}

    def list_models(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A page of the models."""
        models = [read_json(path) for path in self._folder.glob("*.json")]
        summaries = [
            {member: model[member] for member in ("ModelName", "ModelArn", "CreationTime")} for model in models
        ]
        return list_page(request, summaries, name_member="ModelName", status_member=None, results_member="Models")

    def tags(self, name: str, added: list[dict[str, str]]) -> list[dict[str, str]]:
        """A model's tags, after some were added; the name as in its ARN, in lower case."""
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
    """Tags, and others that replace those of the same keys."""
    return list({tag["Key"]: tag for tag in [*tags, *added]}.values())
