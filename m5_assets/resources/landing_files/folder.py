"""The landing folder, local or on S3: which files are there, in which form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import fs

from m5_assets.resources.landing_files.bad_input import BadInput, listed
from m5_assets.resources.landing_files.csv_file import LandingFile

ARCHIVES = ("m5-forecasting-accuracy.zip", "m5-forecasting-uncertainty.zip")
"""Kaggle's downloads of the competition and of its sister; both hold the same files."""

_SUFFIXES = ("", ".gz", ".zip")
_OTHER_ARCHIVES = (".zip", ".gz", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst")
_REMEDY = (
    "Copy it there, as CSV, .csv.gz or .csv.zip or in m5-forecasting-accuracy.zip, or point M5_LANDING at the folder "
    "with Kaggle's M5 files; `m5 sample` generates a folder."
)


@dataclass(frozen=True)
class Folder:
    """A folder on the local file system or S3."""

    filesystem: fs.FileSystem
    path: str
    label: str

    @classmethod
    def at(cls, root: str) -> Folder:
        """Return the folder at a local path or at `s3://bucket/prefix`."""
        if not root.startswith("s3://"):
            path = str(Path(root).expanduser().absolute())
            return cls(fs.LocalFileSystem(), path, path)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        path = root.removeprefix("s3://").rstrip("/")
        return cls(fs.S3FileSystem(endpoint_override=endpoint, region=region), path, root.rstrip("/"))

    def file(self, name: str) -> LandingFile:
        """Return the file with this name.

        Raises:
            BadInput: if it does not exist, or in several forms that differ.
        """
        return self.first([name])

    def find(self, name: str) -> LandingFile | None:
        """Return the file with this name in whatever form it is there, or None if it does not exist.

        Raises:
            BadInput: if it exists in several forms whose contents differ, or what has its name is not a file.
        """
        names = [name + suffix for suffix in _SUFFIXES]
        found = [self._stored(each, name) for each in self._existing(names)]
        archives = [self._stored(each, name) for each in self._existing(ARCHIVES)]
        found += [archive for archive in archives if name in archive.members()]
        if len(found) > 1 and len({file.checksum() for file in found}) > 1:
            those = ", ".join(PurePosixPath(file.path).name for file in found)
            raise BadInput(
                f"{self.label}/{name}",
                f"is there more than once, with different contents: {those}",
                "Keep one of them.",
            )
        if not found:
            self._refuse_others(names)
        return found[0] if found else None

    def first(self, names: Sequence[str]) -> LandingFile:
        """Return the first of these files that exists.

        Raises:
            BadInput: if none exists, or one in several forms that differ.
        """
        for name in names:
            if found := self.find(name):
                return found
        others = "".join(f" (or {name})" for name in names[1:])
        raise BadInput(f"{self.label}/{names[0]}{others}", f"missing file{self._similar(names[0])}", _REMEDY)

    def stamps(self, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return (size in bytes, modification time in ns) of all stored files from which these names are read."""
        stored = [name + suffix for name in names for suffix in _SUFFIXES]
        return {name: self._stored(name, name).stamp() for name in self._existing([*stored, *ARCHIVES])}

    def _stored(self, stored: str, name: str) -> LandingFile:
        return LandingFile(self.filesystem, f"{self.path}/{stored}", f"{self.label}/{stored}", name)

    def _existing(self, names: Sequence[str]) -> list[str]:
        infos = self.filesystem.get_file_info([f"{self.path}/{name}" for name in names])
        return [name for name, info in zip(names, infos, strict=True) if info.type == fs.FileType.File]

    def _refuse_others(self, names: Sequence[str]) -> None:
        """Refuse a folder or a link to nowhere that has the name of a file: it is there, but cannot be read."""
        for name, info in zip(names, self.filesystem.get_file_info([f"{self.path}/{n}" for n in names]), strict=True):
            local = isinstance(self.filesystem, fs.LocalFileSystem)
            if info.type == fs.FileType.NotFound and not (local and Path(info.path).is_symlink()):
                continue
            kind = {fs.FileType.Directory: "a folder", fs.FileType.NotFound: "a link that leads to no file"}
            problem = f"is {kind.get(info.type, 'a device or pipe')}, not a file"
            raise BadInput(f"{self.label}/{name}", problem, "Remove it, and put the file itself there.")

    def _similar(self, name: str) -> str:
        """Return what lies in the folder and may be the file in a form that is not read."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        there = [info.base_name for info in self.filesystem.get_file_info(selector) if info.is_file]
        stem = name.partition(".")[0].casefold()
        found = [each for each in there if stem in each.casefold() or each.casefold().endswith(_OTHER_ARCHIVES)]
        return f"; what lies there is not read for it: {listed(sorted(found))}" if found else ""
