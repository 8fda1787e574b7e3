"""S3 as folders: a bucket is a folder, a key a path below it.

Uploads are written to `.uploads/` in the bucket and then renamed, so that readers see whole objects only, and synced,
so that a power cut leaves them. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from dagster_sagemaker.local.job.outcome import JobFailure
from dagster_sagemaker.local.job.s3_objects import safe_key
from dagster_sagemaker.local.shared_files import put_in_place, sync

_UPLOADS = ".uploads"


class FolderStore:
    """An `ObjectStore` of folders, one per bucket.

    Args:
        folders: folders by bucket name.
    """

    def __init__(self, folders: Mapping[str, Path]):
        self._folders = {name: Path(folder).resolve() for name, folder in folders.items()}

    def list_keys(self, uri: str) -> Sequence[str]:
        """Return the keys below a prefix that ends with `/`, relative to it and sorted."""
        folder = self._locate(uri)[1]
        paths = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
        keys = sorted(path.relative_to(folder).as_posix() for path in paths)
        return [key for key in keys if not key.startswith(f"{_UPLOADS}/")]

    def exists(self, uri: str) -> bool:
        """Return whether an object exists."""
        return self._locate(uri)[1].is_file()

    def download(self, uri: str, target: Path) -> None:
        """Write an object to a file."""
        try:
            shutil.copyfile(self._locate(uri)[1], target)
        except FileNotFoundError as error:
            raise JobFailure(f"ClientError: the object {uri} does not exist") from error

    def upload(self, source: Path, uri: str) -> None:
        """Store a file as an object."""
        bucket, target = self._locate(uri)
        temporary = bucket / _UPLOADS / uuid.uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            put_in_place(temporary, target)
            for folder in target.parent.parents:  # that may be new
                sync(folder)
                if folder == bucket:
                    break
        finally:
            temporary.unlink(missing_ok=True)

    def _locate(self, uri: str) -> tuple[Path, Path]:
        """Return the folder of the bucket and the path of the key."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or bucket not in self._folders:
            known = ", ".join(sorted(self._folders)) or "none"
            raise JobFailure(f"ClientError: {uri}: no such bucket on this machine; known buckets: {known}")
        folder = self._folders[bucket]
        path = folder / safe_key(key, uri)
        if not path.resolve().is_relative_to(folder):
            raise JobFailure(f"ClientError: {uri}: leads out of its bucket")
        return folder, path
