"""One instance of a job: its host name, its `/opt/ml`, its log stream. Standard library only."""

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
        number: its index among the job's instances, from 0.
        ml: the folder of its `/opt/ml`.
        log: the stream of its container's output.
    """

    number: int
    ml: Path
    log: LogStream

    @property
    def host(self) -> str:
        """Its host name: `algo-1`, `algo-2` and so on."""
        return f"algo-{self.number + 1}"

    def local_path(self, container_path: str) -> Path:
        """Return the path on this machine of a container's path below `/opt/ml`.

        Raises:
            JobFailure: the path is not below `/opt/ml`.
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
