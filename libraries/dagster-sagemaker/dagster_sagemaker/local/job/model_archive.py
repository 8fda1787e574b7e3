"""The archives that a Training job stores, of all instances' files.

Standard library only. Not here: unpacking (`dagster_sagemaker.artifacts`).
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dagster_sagemaker.local.job.s3_objects import regular_files


def merged_files(folders: Sequence[Path]) -> tuple[dict[str, Path], list[str]]:
    """The files of several folders as one tree; where a name is there twice, the first folder's is taken.

    Returns:
        Relative names and files, and the names that are there more than once.
    """
    files: dict[str, Path] = {}
    doubled: list[str] = []
    for folder in folders:
        for path in regular_files(folder):
            name = path.relative_to(folder).as_posix()
            if files.setdefault(name, path) is not path:
                doubled.append(name)
    return files, doubled


def write_archive(files: Mapping[str, Path], archive: Path) -> None:
    """Write files as a tar.gz whose bytes depend on their names and contents alone."""
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
