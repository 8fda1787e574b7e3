"""S3 as folders: the objects that a job reads and writes.

A bucket is a folder, a key a path below it. Uploads are written to `.uploads/` in the bucket and then renamed, so a
reader sees whole objects only. Standard library only: the supervisor must start quickly.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from m5_assets.sagemaker.local.outcome import JobFailure

_UPLOADS = ".uploads"


@dataclass(frozen=True)
class StoredObject:
    """One object: its key relative to the prefix it was listed by, and its file."""

    key: str
    path: Path


class Buckets:
    """The buckets that jobs may use.

    Args:
        folders: Bucket names and their folders.
    """

    def __init__(self, folders: Mapping[str, Path]):
        self._folders = {name: Path(folder).resolve() for name, folder in folders.items()}

    def path(self, uri: str) -> Path:
        """The file or folder of an `s3://` URI.

        Raises:
            JobFailure: No such bucket, or a key that leaves it.
        """
        return self._locate(uri)[1]

    def list_objects(self, data_type: str, uri: str) -> list[StoredObject]:
        """The objects of an S3Prefix or a ManifestFile, in the order of their keys or of the manifest.

        Raises:
            JobFailure: None are there, or the manifest is malformed or names an object that is not there.
        """
        found = list(self._manifest_objects(uri) if data_type == "ManifestFile" else self._prefix_objects(uri))
        if not found:
            raise JobFailure(f"ClientError: no objects found under {uri}")
        return found

    def download(self, source: Mapping[str, Any], destination: Path) -> int:
        """Copy the objects of an S3 data source below a folder, keeping their relative keys.

        Returns:
            The number of objects.
        """
        objects = self.list_objects(source["S3DataType"], source["S3Uri"])
        for item in objects:
            target = destination / item.key
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(item.path, target)
        return len(objects)

    def upload(self, source: Path, uri: str) -> None:
        """Write one file as the object of a URI."""
        bucket, target = self._locate(uri)
        temporary = bucket / _UPLOADS / uuid.uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def upload_tree(self, source: Path, uri: str) -> int:
        """Write every regular file below a folder under a URI; links are not followed, as on AWS.

        Returns:
            The number of objects.
        """
        files = [path for path in _files(source) if not path.is_symlink()]
        for path in files:
            self.upload(path, f"{uri.rstrip('/')}/{path.relative_to(source).as_posix()}")
        return len(files)

    def _locate(self, uri: str) -> tuple[Path, Path]:
        """The folder of the bucket and the path of the key."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or bucket not in self._folders:
            known = ", ".join(sorted(self._folders)) or "none"
            raise JobFailure(f"ClientError: {uri}: no such bucket on this machine; known buckets: {known}")
        folder = self._folders[bucket]
        path = folder / _safe_key(key, uri)
        if not path.resolve().is_relative_to(folder):
            raise JobFailure(f"ClientError: {uri}: leads out of its bucket")
        return folder, path

    def _prefix_objects(self, uri: str) -> Iterator[StoredObject]:
        folder = self.path(uri)
        for path in _files(folder):
            key = path.relative_to(folder).as_posix()
            if not key.startswith(f"{_UPLOADS}/"):
                yield StoredObject(key, path)

    def _manifest_objects(self, uri: str) -> Iterator[StoredObject]:
        manifest_file = self.path(uri)
        if not manifest_file.is_file():
            raise JobFailure(f"ClientError: the manifest {uri} does not exist")
        try:
            head, *keys = json.loads(manifest_file.read_text(encoding="utf-8"))
            prefix = head["prefix"]
        except (ValueError, TypeError, KeyError) as error:
            message = f'ClientError: the manifest {uri} is not of the form [{{"prefix": "s3://…/"}}, "key", …]: {error}'
            raise JobFailure(message) from error
        for key in keys:
            path = self.path(prefix + _safe_key(str(key), uri))
            if not path.is_file():
                raise JobFailure(f"ClientError: the manifest {uri} names {prefix}{key}, which does not exist")
            yield StoredObject(str(key), path)


def _files(folder: Path) -> list[Path]:
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _safe_key(key: str, uri: str) -> str:
    pure = PurePosixPath(key)
    if ".." in pure.parts or pure.is_absolute():
        raise JobFailure(f"ClientError: {uri}: the key {key!r} leads out of its prefix")
    return key
