"""Writes the archives that a Training job stores, from the files of all instances. Standard library only."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dagster_sagemaker.local.job.s3_objects import regular_files


def merged_files(folders: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """Merge the files of several folders into one tree; of files with the same name, the first one is taken.

    Returns:
        Files by relative name, and the names that occurred more than once.
    """
    files: dict[str, Path] = {}
    duplicates: list[str] = []
    for folder in folders:
        for path in regular_files(folder):
            name = path.relative_to(folder).as_posix()
            if files.setdefault(name, path) is not path:
                duplicates.append(name)
    return files, duplicates


def write_archive(files: Mapping[str, Path], archive: Path) -> None:
    """Write files as a tar.gz whose bytes depend only on their names and contents."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = path.stat().st_size
            info.mode = 0o644
            with path.open("rb") as stream:
                tar.addfile(info, stream)
