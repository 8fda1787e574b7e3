"""The settings of a local runner, which it passes on to every job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunnerSettings:
    """The settings of a local runner.

    Attributes:
        home: the folder of all jobs and models.
        buckets: folders by bucket name.
        s3_endpoint: the URL of an S3 service instead of folders; empty for folders.
        images: command lines of entry points by image URI.
        stop_grace: seconds between SIGTERM and SIGKILL.
        region: the region in ARNs.
    """

    home: Path
    buckets: Mapping[str, Path]
    s3_endpoint: str
    images: Mapping[str, Sequence[str]]
    stop_grace: float
    region: str

    def for_job(self) -> dict[str, Any]:
        """Return the settings in the form of a job's runner.json."""
        return {
            "buckets": {name: str(Path(folder).resolve()) for name, folder in self.buckets.items()},
            "s3_endpoint": self.s3_endpoint,
            "images": {image: list(argv) for image, argv in self.images.items()},
            "stop_grace": self.stop_grace,
            "region": self.region,
        }
