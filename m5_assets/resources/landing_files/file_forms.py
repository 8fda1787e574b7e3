"""The forms in which a landed file may come: plain, compressed by gzip, or in a zip archive.

A form is recognized by the file's first bytes, not by its name, because downloads change names.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from m5_assets.resources.landing_files.bad_input import BadInput, listed

UNPACKED_LIMIT = 8 << 30
"""Bytes that a compressed file may unpack to: four times the largest file at ten times M5's series."""

_GZIP, _ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")
_DAMAGED = (zlib.error, EOFError, zipfile.BadZipFile, gzip.BadGzipFile)
_CHUNK = 1 << 20
_UNPACK = "Unpack it and put the CSV file there."


@dataclass(frozen=True)
class StoredFile:
    """A file of the landing folder, as it lies there.

    Attributes:
        filesystem: where it is.
        path: its path there.
        label: its name in messages.
        member: the file that is meant if it is a zip archive.
    """

    filesystem: fs.FileSystem = field(hash=False, compare=False)
    path: str
    label: str
    member: str

    def __str__(self) -> str:
        return self.label if self.label.endswith(self.member) else f"{self.label}/{self.member}"

    def stamp(self) -> tuple[int, int]:
        """Return size in bytes and modification time in ns."""
        info = self.filesystem.get_file_info(self.path)
        return info.size, info.mtime_ns

    def content(self) -> bytes:
        """Return the file's bytes; for small files."""
        with self.open() as source:
            return bytes(source.read())

    def open(self) -> BinaryIO:
        """Return a stream of the unpacked content.

        Raises:
            BadInput: the file cannot be opened, is damaged, or unpacks to too much; also while it is read.
        """
        raw = self._raw()
        first = bytes(raw.read(4))
        raw.seek(0)
        if first[:2] == _GZIP:
            return io.BufferedReader(_Unpacked(self, gzip.GzipFile(fileobj=cast(Any, raw)), raw), _CHUNK)
        if first in _ZIP:
            return io.BufferedReader(_Unpacked(self, self._open_member(raw), raw), _CHUNK)
        return cast(BinaryIO, raw)

    def members(self) -> list[str]:
        """Return the names of the files in a zip archive, without their folders; empty if it is none."""
        with self._raw() as raw:
            if bytes(raw.read(4)) not in _ZIP:
                return []
            raw.seek(0)
            return [PurePosixPath(info.filename).name for info in self._infos(raw)]

    def ends_with_a_line(self) -> bool:
        """Return whether a plain file ends with a line break; a compressed one has a checksum, so it always does."""
        with self._raw() as raw:
            first = bytes(raw.read(4))
            raw.seek(max(0, raw.size() - 1))
            return first[:2] == _GZIP or first in _ZIP or bytes(raw.read(1)) in (b"\n", b"\r")

    def checksum(self) -> tuple[int, int]:
        """Return length and CRC-32 of the unpacked content."""
        return _checksum(self, self.stamp())

    def _raw(self) -> pa.NativeFile:
        try:
            return self.filesystem.open_input_file(self.path)
        except PermissionError:
            raise BadInput(self, "permission denied", "Give this account read access.") from None

    def _infos(self, raw: pa.NativeFile) -> list[zipfile.ZipInfo]:
        try:
            found = zipfile.ZipFile(cast(Any, raw)).infolist()
        except _DAMAGED as problem:
            raise BadInput(self.label, f"is not a complete zip archive ({problem})", "Copy it again.") from None
        # macOS adds files of its own to archives.
        own = [info for info in found if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
        return [info for info in own if not PurePosixPath(info.filename).name.startswith("._")]

    def _info(self, raw: pa.NativeFile) -> zipfile.ZipInfo:
        infos = self._infos(raw)
        own = [info for info in infos if PurePosixPath(info.filename).name == self.member]
        if not own:
            held = listed([info.filename for info in infos]) or "nothing"
            raise BadInput(self.label, f"does not hold {self.member} but {held}", f"Put {self.member} into it.")
        if len(own) > 1:
            both = listed([info.filename for info in own])
            raise BadInput(self.label, f"holds {self.member} more than once: {both}", "Keep one of them.")
        return own[0]

    def _open_member(self, raw: pa.NativeFile) -> BinaryIO:
        info = self._info(raw)
        if info.file_size > UNPACKED_LIMIT:
            raise self.too_large()
        if info.flag_bits & 1:
            raise BadInput(self, "is encrypted", _UNPACK)
        try:
            return cast(BinaryIO, zipfile.ZipFile(cast(Any, raw)).open(info))
        except (NotImplementedError, *_DAMAGED) as problem:
            raise BadInput(self, f"cannot be unpacked ({problem})", _UNPACK) from None

    def too_large(self) -> BadInput:
        """Return the error for a file that unpacks to more than the limit."""
        return BadInput(self, f"unpacks to more than {UNPACKED_LIMIT:,} bytes", f"If that is right: {_UNPACK}")


class _Unpacked(io.RawIOBase):
    """The content of a compressed file, with its own kinds of errors as `BadInput`, up to the limit."""

    def __init__(self, file: StoredFile, content: BinaryIO | gzip.GzipFile, raw: pa.NativeFile) -> None:
        self._file, self._content, self._raw, self._count = file, content, raw, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._content.read(len(buffer))
        except _DAMAGED as problem:
            raise BadInput(self._file, f"is damaged or incomplete ({problem})", "Copy it again.") from None
        self._count += len(found)
        if self._count > UNPACKED_LIMIT:
            raise self._file.too_large()
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        if not self.closed:
            self._content.close()
            self._raw.close()
        super().close()


@lru_cache(maxsize=32)
def _checksum(file: StoredFile, _stamp: tuple[int, int]) -> tuple[int, int]:
    with file.open() as source:
        length, crc = 0, 0
        while chunk := source.read(_CHUNK):
            length, crc = length + len(chunk), zlib.crc32(chunk, crc)
    return length, crc
