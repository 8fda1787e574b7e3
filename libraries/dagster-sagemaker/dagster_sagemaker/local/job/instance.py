"""One instance of a job: its name in the cluster, its `/opt/ml`, its log stream. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_sagemaker.local.job.container import LogStream
from dagster_sagemaker.local.job.outcome import JobFailure


@dataclass(frozen=True)
class Instance:
    """One instance of a job.

    Attributes:
        number: Its place among the job's instances, from 0.
        ml: The folder that stands for its `/opt/ml`.
        log: The stream of its container's output.
    """

    number: int
    ml: Path
    log: LogStream

    @property
    def host(self) -> str:
        """Its name, `algo-1` and so on."""
        return f"algo-{self.number + 1}"

    def local_path(self, container_path: str) -> Path:
        """Where a path below `/opt/ml` lies on this machine.

        Raises:
            JobFailure: The path is not below `/opt/ml`.
        """
        relative = container_path.removeprefix("/opt/ml/")
        if relative == container_path or ".." in Path(relative).parts:
            raise JobFailure(f"ClientError: the path {container_path} is not below /opt/ml")
        return self.ml / relative

    def make_folders(self, *relative: str) -> None:
        """Create folders below `/opt/ml`."""
        for name in relative:
            (self.ml / name).mkdir(parents=True, exist_ok=True)

    def write_config(self, relative: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file below `/opt/ml`."""
        path = self.ml / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
