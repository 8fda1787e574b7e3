"""What the local runner is told by its user, and hands to every job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunnerSettings:
    """What jobs are run with.

    Attributes:
        home: The folder of all jobs and models.
        buckets: Bucket names and their folders.
        s3_endpoint: The URL of an S3 service instead of folders; empty for folders.
        images: Image URIs and the command lines of their entry points.
        stop_grace: Seconds between SIGTERM and SIGKILL.
        region: The region that ARNs name.
    """

    home: Path
    buckets: Mapping[str, Path]
    s3_endpoint: str
    images: Mapping[str, Sequence[str]]
    stop_grace: float
    region: str

    def for_job(self) -> dict[str, Any]:
        """What a job's runner.json holds of them."""
        return {
            "buckets": {name: str(Path(folder).resolve()) for name, folder in self.buckets.items()},
            "s3_endpoint": self.s3_endpoint,
            "images": {image: list(argv) for image, argv in self.images.items()},
            "stop_grace": self.stop_grace,
            "region": self.region,
        }
