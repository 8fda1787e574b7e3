"""The Parquet lake, on S3 or in a folder, where every asset stores its partitions.

A partition is a folder whose `manifest.json` lists the current files with sizes and hashes, their inputs and their
attributes. Data files go into a new version folder first and the manifest is replaced last, in one step, so readers see
the old partition or the new one, never a mix. Versions are named by content hash or by the job that wrote them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from m5_assets.resources.conditional_writes import locked, read_object, replace_object, s3_client
from m5_assets.resources.lake_manifests import ChangedMeanwhile, DamagedFile, LakeFile, Manifest, MissingInput

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger("m5")

LOCAL_BUCKET = "m5-lake"
"""The bucket name that stands for a folder lake in requests to the local runner."""

_MANIFEST = "manifest.json"
_LOCK = ".manifests.lock"
_CHUNK = 1 << 20
_READ_WHOLE = 64 << 20
_ROWS_AT_ONCE = 250_000
"""Row groups are read together up to this many rows: each part costs its readers about 50 ms, however small."""


class Lake(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake in a folder or at an `s3://bucket/prefix` URI."""

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

    @cached_property
    def _s3(self) -> S3Client:
        return s3_client()  # PyArrow has no conditional writes

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The lake's PyArrow file system; its paths come from `path`."""
        return self._place[0]

    def path(self, key: str) -> str:
        """Return the path of a key on `filesystem`."""
        return f"{self._place[1]}/{key}"

    def uri(self, key: str) -> str:
        """Return the S3 URI of a key for SageMaker requests; the local runner maps it to the folder."""
        return f"{self.root.rstrip('/')}/{key}" if self.root.startswith("s3://") else f"s3://{LOCAL_BUCKET}/{key}"

    def key(self, uri: str) -> str:
        """Return the key of a URI that `uri` returned.

        Raises:
            ValueError: if the URI is outside the lake.
        """
        prefix = self.uri("")
        if not uri.startswith(prefix):
            raise ValueError(f"{uri} is not in the lake at {prefix}")
        return uri.removeprefix(prefix)

    @staticmethod
    def folder(dataset: str, partition: str | None = None) -> str:
        """Return the key of a partition's folder, without a trailing slash."""
        return f"{dataset}/week={partition}" if partition else dataset

    def find(self, dataset: str, partition: str | None = None) -> Manifest | None:
        """Return the manifest of a partition, or None if it does not exist."""
        path = self.path(f"{self.folder(dataset, partition)}/{_MANIFEST}")
        try:
            return Manifest.from_json(self._read_whole(path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            # After a power cut or a failing disk. Readers see a partition that has to be built again.
            log.warning("%s cannot be read and counts as missing: %s", path, problem)
            return None

    def _read_whole(self, path: str) -> bytes:
        """Return a manifest's content in one request: PyArrow's two, size and content, may see two manifests."""
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            return Path(path).read_bytes()
        content, version = read_object(self._s3, path)
        if not version:
            raise FileNotFoundError(path)
        return content

    def open(self, file: LakeFile) -> pa.NativeFile:
        """Return a verified file, open for reading.

        Small files are read whole; the others are hashed in one pass and read in a second, so memory stays flat.

        Raises:
            DamagedFile: if its size or SHA-256 is not what the manifest says, or if it is gone.
        """
        if file.bytes > _READ_WHOLE:
            self.verify([file])
            return self.filesystem.open_input_file(self.path(file.key))
        try:
            with self.filesystem.open_input_stream(self.path(file.key), compression=None) as stream:
                content = stream.read()
        except FileNotFoundError:
            raise DamagedFile(file, "it is gone") from None
        found = hashlib.sha256(content).hexdigest()
        if (len(content), found) != (file.bytes, file.sha256):
            raise DamagedFile(file, f"it has {len(content)} bytes with SHA-256 {found}")
        return pa.BufferReader(content)

    def verify(self, files: Iterable[LakeFile]) -> None:
        """Check that files are what their manifests say; for those that a job reads.

        Raises:
            DamagedFile: naming the first that is not.
        """
        for file in files:
            try:
                (found,) = self.describe([file.key])
            except FileNotFoundError:
                raise DamagedFile(file, "it is gone") from None
            if found != file:
                raise DamagedFile(file, f"it has {found.bytes} bytes with SHA-256 {found.sha256}")

    def read_table(self, file: LakeFile) -> pa.Table:
        """Return the contents of a Parquet file."""
        with self.open(file) as stream:
            return pq.read_table(stream).unify_dictionaries()  # row groups may have different dictionaries

    def read_groups(self, file: LakeFile, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield a Parquet file's row groups in order, merging small ones, so the whole file is never in memory."""
        with self.open(file) as stream, pq.ParquetFile(stream) as parquet:
            groups: list[int] = []
            rows = 0
            for group in range(parquet.num_row_groups):
                groups.append(group)
                rows += parquet.metadata.row_group(group).num_rows
                if rows >= _ROWS_AT_ONCE or group == parquet.num_row_groups - 1:
                    yield parquet.read_row_groups(groups, columns).unify_dictionaries()  # each group has its own
                    groups, rows = [], 0

    def is_intact(self, files: Iterable[LakeFile]) -> bool:
        """Return whether all files are what their manifests say; those that are not are built again."""
        try:
            self.verify(files)
        except DamagedFile as damage:
            log.warning("%s", damage.description)
            return False
        return True

    def get(self, dataset: str, partition: str | None = None, *, remedy: str | None = None) -> Manifest:
        """Return the manifest of a partition.

        Raises:
            MissingInput: if it does not exist; `remedy` says what to do.
        """
        found = self.find(dataset, partition)
        if found is None:
            first = f"materialize {dataset} for this week first" if partition else f"materialize {dataset} first"
            raise MissingInput(dataset, partition, remedy or first)
        return found

    def partitions(self, dataset: str) -> list[str]:
        """Return the partition keys that have a manifest, in order."""
        selector = pafs.FileSelector(self.path(dataset), allow_not_found=True, recursive=False)
        folders = [i.base_name for i in self.filesystem.get_file_info(selector) if i.type == pafs.FileType.Directory]
        keys = sorted(name.removeprefix("week=") for name in folders if name.startswith("week="))
        paths = [self.path(f"{self.folder(dataset, key)}/{_MANIFEST}") for key in keys]
        present = self.filesystem.get_file_info(paths) if paths else []
        return [key for key, info in zip(keys, present, strict=True) if info.type == pafs.FileType.File and info.size]

    def version(self, dataset: str, partition: str | None = None) -> str:
        """Return a token of a partition's manifest, empty if there is none. Each change of the manifest changes it."""
        path = self.path(f"{self.folder(dataset, partition)}/{_MANIFEST}")
        if not isinstance(self.filesystem, pafs.LocalFileSystem):
            return read_object(self._s3, path)[1]
        return _sha256(Path(path)) if Path(path).exists() else ""

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a temporary local folder; pass it to `publish` to keep its files."""
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
        replacing: str | None = None,
    ) -> Manifest:
        """Copy the files of a staging folder into a new version of the partition and make it current.

        The version's name is a hash of the content, so the same content always has the same keys.

        Args:
            dataset: the asset's name.
            partition: the week's key, or None.
            staged: the staging folder.
            inputs: see `Manifest`.
            attributes: see `Manifest`.
            replacing: what `version` returned when the work began; None for now.

        Raises:
            ChangedMeanwhile: if another process has replaced the partition since.
        """
        replacing = self.version(dataset, partition) if replacing is None else replacing
        names = sorted(p.relative_to(staged).as_posix() for p in staged.rglob("*") if p.is_file())
        hashes = {name: _sha256(staged / name) for name in names}
        version = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:12]
        base = f"{self.folder(dataset, partition)}/{version}"
        files = []
        for name in names:
            size = (staged / name).stat().st_size
            self._put(staged / name, f"{base}/{name}")
            files.append(LakeFile(f"{base}/{name}", size, hashes[name]))
        return self.commit(Manifest(dataset, partition, tuple(files), dict(inputs), dict(attributes)), replacing)

    def collect(
        self,
        dataset: str,
        partition: str | None,
        prefix: str,
        *,
        inputs: Mapping[str, str],
        attributes: Mapping[str, Any],
    ) -> Manifest:
        """Return a manifest of the files that a finished job wrote below the key `prefix`, for `commit`.

        Raises:
            dagster.Failure: if the job wrote no files.
        """
        files = tuple(self.describe(self.list(prefix)))
        if not files:
            raise dg.Failure(f"{dataset}, week {partition}: the job wrote no files below {self.uri(prefix)}")
        return Manifest(dataset, partition, files, dict(inputs), dict(attributes))

    def commit(self, manifest: Manifest, replacing: str | None = None) -> Manifest:
        """Make this manifest the partition's current one, in one step, and return it.

        Old versions stay: readers may still use them, and later weeks may carry their models forward.

        Args:
            manifest: the new contents.
            replacing: what `version` returned when the work began; None for now.

        Raises:
            ChangedMeanwhile: if another process has replaced the partition since, with other content.
        """
        replacing = self.version(manifest.dataset, manifest.partition) if replacing is None else replacing
        self._sync([self.path(file.key) for file in manifest.files])
        if not self._switch(manifest, manifest.to_json(), replacing):
            raise ChangedMeanwhile(manifest.dataset, manifest.partition)
        return manifest

    def _switch(self, manifest: Manifest, content: bytes, replacing: str) -> bool:
        """Write the manifest if the partition has still this version; return whether it is in force now."""
        key = f"{self.folder(manifest.dataset, manifest.partition)}/{_MANIFEST}"
        if not isinstance(self.filesystem, pafs.LocalFileSystem):
            return replace_object(self._s3, self.path(key), content, replacing)
        with locked(Path(self._place[1]) / _LOCK):
            if self.version(manifest.dataset, manifest.partition) == replacing:
                self.write_bytes(key, content)
                return True
            return Path(self.path(key)).exists() and Path(self.path(key)).read_bytes() == content

    def list(self, prefix: str) -> Sequence[str]:
        """Return the keys of all files below a folder key, sorted."""
        selector = pafs.FileSelector(self.path(prefix.rstrip("/")), allow_not_found=True, recursive=True)
        found = [i.path for i in self.filesystem.get_file_info(selector) if i.type == pafs.FileType.File]
        base = self.path("")
        return sorted(path.removeprefix(base) for path in found)

    def describe(self, keys: Sequence[str]) -> Iterator[LakeFile]:
        """Yield size and SHA-256 of files in the lake."""
        for key in keys:
            digest, size = hashlib.sha256(), 0
            with self.filesystem.open_input_stream(self.path(key), compression=None) as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
            yield LakeFile(key, size, digest.hexdigest())

    def write_bytes(self, key: str, content: bytes) -> None:
        """Write a small file atomically: readers see the old content or the new."""
        with self.staging() as staged:
            (staged / "content").write_bytes(content)
            _sync_path(staged / "content")
            self._put(staged / "content", key)
            self._sync([self.path(key)])

    def _sync(self, paths: Sequence[str]) -> None:
        """Make files and the folders that name them outlast a power cut; S3 does so by itself."""
        if not isinstance(self.filesystem, pafs.LocalFileSystem):
            return
        root, folders = Path(self._place[1]), set[Path]()
        for path in map(Path, paths):
            _sync_path(path)
            folders |= {folder for folder in path.parents if folder == root or root in folder.parents}
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            _sync_path(folder)

    def _put(self, source: Path, key: str) -> None:
        target = self.path(key)
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
        else:
            with source.open("rb") as stream, self.filesystem.open_output_stream(target, compression=None) as sink:
                shutil.copyfileobj(stream, sink, _CHUNK)


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
