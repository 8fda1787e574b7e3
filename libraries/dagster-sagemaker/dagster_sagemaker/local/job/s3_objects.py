"""The S3 objects that a job reads and writes, found and shared out by SageMaker's rules, over an `ObjectStore`.

Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from dagster_sagemaker.local.job.outcome import JobFailure


class ObjectStore(Protocol):
    """The part of S3 that the runner needs; every method raises JobFailure if it fails."""

    def list_keys(self, uri: str) -> Sequence[str]:
        """Return the keys below a prefix that ends with `/`, relative to it and sorted."""

    def exists(self, uri: str) -> bool:
        """Return whether an object exists."""

    def download(self, uri: str, target: Path) -> None:
        """Write an object to a file, in a folder that exists."""

    def upload(self, source: Path, uri: str) -> None:
        """Store a file as an object, atomically."""


@dataclass(frozen=True)
class StoredObject:
    """An object: its key relative to the listed prefix, and its URI."""

    key: str
    uri: str


Check = Callable[[], None]
"""Called between two objects; raises to leave off."""


def find_objects(store: ObjectStore, source: Mapping[str, Any], scratch: Path) -> list[StoredObject]:
    """Return the objects of an S3 data source, in the order of their keys or of the manifest.

    Args:
        store: where to look.
        source: `S3DataType` (S3Prefix or ManifestFile) and `S3Uri`.
        scratch: a folder for the manifest.

    Raises:
        JobFailure: there are none, or the manifest is malformed or names an object that does not exist.
    """
    uri = source["S3Uri"]
    if source["S3DataType"] == "ManifestFile":
        found = list(_manifest_objects(store, uri, scratch))
    else:
        prefix = uri.rstrip("/") + "/"
        found = [StoredObject(safe_key(key, uri), prefix + key) for key in store.list_keys(prefix)]
    if not found:
        raise JobFailure(f"ClientError: no objects found under {uri}")
    return found


def share(objects: Sequence[StoredObject], number: int, count: int) -> Sequence[StoredObject]:
    """Return one instance's share of objects that are divided by key.

    AWS promises only roughly equal numbers. Here it is every `count`-th, so a container must not rely on neighbours.

    Args:
        objects: all objects.
        number: the instance, from 0.
        count: number of instances.
    """
    return objects[number::count]


def download_objects(store: ObjectStore, objects: Sequence[StoredObject], folder: Path, check: Check) -> None:
    """Copy objects to a folder, keeping their relative keys."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in objects:
        check()
        target = folder / item.key
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download(item.uri, target)


def upload_tree(store: ObjectStore, folder: Path, uri: str, check: Check) -> list[str]:
    """Store every regular file below a folder under a URI; links are not followed, as on AWS.

    Returns:
        The relative keys.
    """
    keys = []
    for path in regular_files(folder):
        check()
        keys.append(path.relative_to(folder).as_posix())
        store.upload(path, f"{uri.rstrip('/')}/{keys[-1]}")
    return keys


def regular_files(folder: Path) -> list[Path]:
    """Return all files below a folder except links, sorted by relative path."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def safe_key(key: str, uri: str) -> str:
    """Return a key if it stays below the folder it is put in.

    Raises:
        JobFailure: it leads out of the folder.
    """
    pure = PurePosixPath(key)
    if ".." in pure.parts or pure.is_absolute():
        raise JobFailure(f"ClientError: {uri}: the key {key!r} leads out of its prefix")
    return key


def _manifest_objects(store: ObjectStore, uri: str, scratch: Path) -> Iterator[StoredObject]:
    if not store.exists(uri):
        raise JobFailure(f"ClientError: the manifest {uri} does not exist")
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / "manifest.json"
    store.download(uri, file)
    try:
        head, *keys = json.loads(file.read_text(encoding="utf-8"))
        prefix = head["prefix"]
    except (ValueError, TypeError, KeyError) as error:
        message = f'ClientError: the manifest {uri} is not of the form [{{"prefix": "s3://…/"}}, "key", …]: {error}'
        raise JobFailure(message) from error
    finally:
        file.unlink()
    for key in keys:
        item = StoredObject(safe_key(str(key), uri), f"{prefix}{key}")
        if not store.exists(item.uri):
            raise JobFailure(f"ClientError: the manifest {uri} names {item.uri}, which does not exist")
        yield item
