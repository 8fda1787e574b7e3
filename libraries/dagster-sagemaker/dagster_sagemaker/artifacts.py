"""Model artifacts that may come from anywhere: unpacked without harm, or refused with the reason.

A model.tar.gz is data. Python's own extraction, even with its "data" filter, follows links inside the folder and writes
as many bytes as the archive claims; here only plain files and folders are written, and no more bytes than allowed.
Standard library only: the local runner's jobs import it. Not here: what the files mean, which their model knows.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MAX_BYTES = 20 * 1024**3
"""Bytes of all files together, unless the caller says otherwise."""

MAX_FILES = 10_000

_CHUNK = 1 << 20
# Headers, padding and the end of an archive: tarfile holds a member's extended header in memory, whatever its size.
_OVERHEAD_BYTES = 32 << 20


class UnsafeArtifact(ValueError):
    """An archive is damaged, or holds what no model needs; the message names the archive and the member."""


def unpack_model(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a model.tar.gz into a folder; on any failure the folder is left as it was.

    Args:
        archive: The archive.
        folder: Where its files come to lie; created if missing. Files of the same names are replaced.
        max_bytes: Bytes that the files may have together.

    Raises:
        UnsafeArtifact: The archive cannot be read to its end; or a member is no plain file or folder, has a name that
            leads out of the folder, or makes the files too many or too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A sibling on the same file system: what is half unpacked never stands where a model is looked for.
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.resolve().parent) as temporary:
        stage = Path(temporary)
        try:
            names = _unpack(archive, stage, max_bytes)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as problem:
            raise UnsafeArtifact(f"{archive}: cannot be unpacked, it is damaged or no tar.gz: {problem}") from problem
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(target)


def _unpack(archive: Path, stage: Path, max_bytes: int) -> list[PurePosixPath]:
    names: list[PurePosixPath] = []
    left = max_bytes
    with gzip.open(archive, "rb") as unzipped:
        plain = _Budgeted(unzipped, archive)
        # "r|": members are read in the order of the file, once; a member cannot point back into the archive.
        tar = tarfile.open(fileobj=plain, mode="r|")  # noqa: SIM115  # of the stream, which is closed above
        for member in _checked(tar, archive):
            left -= member.size
            if left < 0:
                raise UnsafeArtifact(f"{archive}: {member.name} makes its files larger than {max_bytes:,} bytes")
            if len(names) >= MAX_FILES:
                raise UnsafeArtifact(f"{archive}: more than {MAX_FILES:,} files")
            plain.left += member.size
            source = tar.extractfile(member)
            if source is None:
                raise UnsafeArtifact(f"{archive}: {member.name} has no content")
            name = PurePosixPath(member.name)
            _write(source, stage / name)
            names.append(name)
        # To the end: the checksum of the compressed data stands there, and a truncated file lacks it.
        while plain.read(_CHUNK):
            pass
    if not names:
        raise UnsafeArtifact(f"{archive}: holds no files")
    return names


class _Budgeted(io.RawIOBase):
    """An unzipped stream that gives no more bytes than the accepted files need.

    Args:
        source: The stream.
        archive: What it is called.

    Attributes:
        left: Bytes that may still be read.
    """

    def __init__(self, source: gzip.GzipFile, archive: Path):
        self._source = source
        self._archive = archive
        self.left = _OVERHEAD_BYTES

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise UnsafeArtifact(f"{self._archive}: more than {_OVERHEAD_BYTES:,} bytes of it are no file's content")
        return content


def _checked(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """The plain files, after their names and kinds were judged."""
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
            raise UnsafeArtifact(f"{archive}: the name {member.name!r} leads out of the model's folder")
        if member.isdir():
            continue
        # A sparse file claims bytes that the archive does not hold.
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise UnsafeArtifact(
                f"{archive}: {member.name} is a link, a device or a sparse file; a model has plain files"
            )
        yield member


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)
