"""Model archives from any source: unpacked safely, or rejected with the reason.

A model.tar.gz is untrusted data. Python's own extraction, even with its "data" filter, follows links inside the folder
and writes as many bytes as the archive claims; here only plain files and folders are written, up to a limit. Standard
library only, because the local runner's jobs import it.
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
"""Default limit for the bytes of all files together."""

MAX_FILES = 10_000

_CHUNK = 1 << 20
# For headers, padding and the archive's end: tarfile reads a member's extended header into memory, whatever its size.
_OVERHEAD_BYTES = 32 << 20


class UnsafeArtifact(ValueError):
    """An archive is damaged or has members that no model needs; the message names the archive and the member."""


def unpack_model(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a model.tar.gz into a folder; on any failure the folder stays as it was.

    Args:
        archive: the archive.
        folder: where to unpack; created if missing. Files with the same names are replaced.
        max_bytes: limit for the bytes of all files together.

    Raises:
        UnsafeArtifact: the archive cannot be read to its end; or a member is not a plain file or folder, has a name
            that leads out of the folder, or makes the files too many or too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # In a sibling folder on the same file system, so that a half-unpacked model is never found.
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.resolve().parent) as temporary:
        stage = Path(temporary)
        try:
            names = _unpack(archive, stage, max_bytes)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as problem:
            raise UnsafeArtifact(f"{archive}: cannot be unpacked: damaged, or no tar.gz: {problem}") from problem
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(target)


def _unpack(archive: Path, stage: Path, max_bytes: int) -> list[PurePosixPath]:
    names: list[PurePosixPath] = []
    left = max_bytes
    with gzip.open(archive, "rb") as unzipped:
        plain = _Budgeted(unzipped, archive)
        # "r|" reads members once, in the order of the file; a member cannot point back into the archive.
        tar = tarfile.open(fileobj=plain, mode="r|")  # noqa: SIM115  # the stream is closed above
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
        # Read to the end, where the checksum of the compressed data is; a truncated file lacks it.
        while plain.read(_CHUNK):
            pass
    if not names:
        raise UnsafeArtifact(f"{archive}: holds no files")
    return names


class _Budgeted(io.RawIOBase):
    """An unzipped stream that returns no more bytes than the accepted files need.

    Args:
        source: the stream.
        archive: its name, for error messages.

    Attributes:
        left: bytes that may still be read.
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
    """Yield the plain files; raise for any other member."""
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
            raise UnsafeArtifact(f"{archive}: the name {member.name!r} leads out of the model's folder")
        if member.isdir():
            continue
        # A sparse file claims bytes that the archive does not contain.
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise UnsafeArtifact(
                f"{archive}: {member.name} is a link, a device or a sparse file; a model has plain files"
            )
        yield member


def _write(source: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK)
