"""The Parquet lake: where every asset keeps its partitions, on S3 or in a folder.

A partition is a folder with a `manifest.json` that names the files in force, their sizes and SHA-256, what they were
made from, and what a reader must know of them. Data files are written below a version of their own first; the manifest
is switched last, in one step, so that a reader sees the old partition or the new one and never half of either. Versions
are named by content (or by the job that wrote them), so that the same input gives the same bytes at the same place.

Not here: what the files hold (`m5_assets.assets`, `m5_assets.forecasting`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

LOCAL_BUCKET = "m5-lake"
"""The bucket name under which a folder lake appears in the requests to the local runner."""

_MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_ROWS_AT_ONCE = 250_000
"""Row groups are read together up to this: a part costs its readers some 50 ms, however small it is."""


class MissingInput(dg.Failure):
    """A partition that an asset reads has not been made. Permanent: trying again cannot help."""

    def __init__(self, dataset: str, partition: str | None, remedy: str) -> None:
        name = f"{dataset}, week {partition}," if partition else dataset
        super().__init__(description=f"{name} is not in the lake; {remedy}", allow_retries=False)


@dataclass(frozen=True)
class LakeFile:
    """A file of a partition: its key below the lake's root, its size and its SHA-256."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a partition consists of.

    Attributes:
        dataset: the asset's name.
        partition: the week's key; None for a dataset without partitions.
        files: the files in force, sorted by key.
        inputs: name of each input and the digest of what was read.
        attributes: what a reader must know, JSON values only (origin, rows, trained through, ...).
    """

    dataset: str
    partition: str | None
    files: tuple[LakeFile, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Name the content: SHA-256 over the files' names within the partition and their hashes."""
        text = "\n".join(f"{Path(f.key).name} {f.sha256}" for f in self.files)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(f.bytes for f in self.files)

    def named(self, name: str) -> LakeFile | None:
        """Return the file of this name; None if the partition was made without it."""
        return next((f for f in self.files if Path(f.key).name == name), None)

    def under(self, folder: str) -> list[LakeFile]:
        """Return the files that lie in this sub-folder of the partition's version."""
        return [f for f in self.files if f"/{folder}/" in f.key]


class Lake(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake at a folder or an `s3://bucket/prefix` URI."""

    root: str

    @cached_property
    def _place(self) -> tuple[pafs.FileSystem, str]:
        if self.root.startswith("s3://"):
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            # PyArrow reads credentials and region as boto3 does, but not the endpoint.
            return pafs.S3FileSystem(endpoint_override=endpoint), self.root.removeprefix("s3://").rstrip("/")
        path = Path(self.root).expanduser().resolve()
        path.mkdir(parents=True, exist_ok=True)
        return pafs.LocalFileSystem(), str(path)

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The PyArrow file system that holds the lake; use it with `path`."""
        return self._place[0]

    def path(self, key: str) -> str:
        """Return the path of a key on `filesystem`."""
        return f"{self._place[1]}/{key}"

    def uri(self, key: str) -> str:
        """Return the S3 URI of a key, as SageMaker requests name it (the local runner maps it to the folder)."""
        return f"{self.root.rstrip('/')}/{key}" if self.root.startswith("s3://") else f"s3://{LOCAL_BUCKET}/{key}"

    def key(self, uri: str) -> str:
        """Return the key of a URI made by `uri`."""
        prefix = self.uri("")
        if not uri.startswith(prefix):
            raise ValueError(f"{uri} does not lie in the lake at {prefix}")
        return uri.removeprefix(prefix)

    @staticmethod
    def folder(dataset: str, partition: str | None = None) -> str:
        """Return the key of a partition's folder, without a trailing slash."""
        return f"{dataset}/week={partition}" if partition else dataset

    def find(self, dataset: str, partition: str | None = None) -> Manifest | None:
        """Return the manifest of a partition, or None where it has not been made."""
        try:
            with self.filesystem.open_input_stream(
                self.path(f"{self.folder(dataset, partition)}/{_MANIFEST}")
            ) as stream:
                content = json.loads(stream.read())
        except FileNotFoundError:
            return None
        files = tuple(LakeFile(**entry) for entry in content.pop("files"))
        return Manifest(files=files, **content)

    def read_table(self, file: LakeFile) -> pa.Table:
        """Return a Parquet file of a partition."""
        with self.filesystem.open_input_file(self.path(file.key)) as stream:
            return pq.read_table(stream).unify_dictionaries()  # row groups may have different ones

    def read_groups(self, file: LakeFile, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield a Parquet file's row groups in order, small ones together, so that not all are in memory at once."""
        with self.filesystem.open_input_file(self.path(file.key)) as stream, pq.ParquetFile(stream) as parquet:
            groups: list[int] = []
            rows = 0
            for group in range(parquet.num_row_groups):
                groups.append(group)
                rows += parquet.metadata.row_group(group).num_rows
                if rows >= _ROWS_AT_ONCE or group == parquet.num_row_groups - 1:
                    yield parquet.read_row_groups(groups, columns).unify_dictionaries()  # each has its own
                    groups, rows = [], 0

    def get(self, dataset: str, partition: str | None = None, *, remedy: str | None = None) -> Manifest:
        """Return the manifest of a partition.

        Raises:
            MissingInput: it has not been made; `remedy` says what to do.
        """
        found = self.find(dataset, partition)
        if found is None:
            raise MissingInput(dataset, partition, remedy or f"materialise {dataset} first")
        return found

    def partitions(self, dataset: str) -> list[str]:
        """Return the partition keys that have a manifest, in order."""
        selector = pafs.FileSelector(self.path(dataset), allow_not_found=True, recursive=False)
        folders = [i.base_name for i in self.filesystem.get_file_info(selector) if i.type == pafs.FileType.Directory]
        keys = sorted(name.removeprefix("week=") for name in folders if name.startswith("week="))
        paths = [self.path(f"{self.folder(dataset, key)}/{_MANIFEST}") for key in keys]
        present = self.filesystem.get_file_info(paths) if paths else []
        return [key for key, info in zip(keys, present, strict=True) if info.type == pafs.FileType.File]

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a temporary folder on this machine; what is to be kept goes to `publish`."""
        inside = Path(self._place[1]) if isinstance(self.filesystem, pafs.LocalFileSystem) else None
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=inside) as folder:
            yield Path(folder)

    def publish(
        self,
        dataset: str,
        partition: str | None,
        staged: Path,
        *,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any],
    ) -> Manifest:
        """Put every file of a staging folder into the partition and switch the partition to them.

        The version's name is the digest of the content: the same content lies at the same place.
        """
        names = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if p.is_file())
        hashes = {name: _sha256(staged / name) for name in names}
        version = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:12]
        base = f"{self.folder(dataset, partition)}/{version}"
        files = []
        for name in names:
            size = (staged / name).stat().st_size
            self._put(staged / name, f"{base}/{name}")
            files.append(LakeFile(f"{base}/{name}", size, hashes[name]))
        return self.commit(Manifest(dataset, partition, tuple(files), dict(inputs), dict(attributes)))

    def collect(
        self,
        dataset: str,
        partition: str | None,
        prefix: str,
        *,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any],
    ) -> Manifest:
        """Return the manifest of what a finished job wrote below `prefix` (a key), for `commit` to switch to."""
        files = tuple(self.describe(self.list(prefix)))
        if not files:
            raise dg.Failure(f"{dataset}, week {partition}: the job wrote nothing below {self.uri(prefix)}")
        return Manifest(dataset, partition, files, dict(inputs), dict(attributes))

    def commit(self, manifest: Manifest) -> Manifest:
        """Switch a partition to this manifest, in one step.

        Versions no longer named stay: someone may be reading them, and later weeks may carry a model of them forward.
        """
        folder = self.folder(manifest.dataset, manifest.partition)
        content = asdict(manifest) | {"files": [asdict(f) for f in manifest.files]}
        self.write_bytes(f"{folder}/{_MANIFEST}", json.dumps(content, indent=1, sort_keys=True).encode())
        return manifest

    def list(self, prefix: str) -> Sequence[str]:
        """Return the keys of all files below a folder key, in order."""
        selector = pafs.FileSelector(self.path(prefix.rstrip("/")), allow_not_found=True, recursive=True)
        found = [i.path for i in self.filesystem.get_file_info(selector) if i.type == pafs.FileType.File]
        base = self.path("")
        return sorted(path.removeprefix(base) for path in found)

    def describe(self, keys: Sequence[str]) -> Iterator[LakeFile]:
        """Yield size and SHA-256 of files that are in the lake already."""
        for key in keys:
            digest, size = hashlib.sha256(), 0
            with self.filesystem.open_input_stream(self.path(key), compression=None) as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
            yield LakeFile(key, size, digest.hexdigest())

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write a small file in one step: readers see the old content or the new."""
        with self.staging() as staged:
            (staged / "content").write_bytes(content)
            self._put(staged / "content", key)

    def _put(self, source: Path, key: str) -> None:
        target = self.path(key)
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        else:
            with source.open("rb") as stream, self.filesystem.open_output_stream(target, compression=None) as sink:
                shutil.copyfileobj(stream, sink, _CHUNK)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
