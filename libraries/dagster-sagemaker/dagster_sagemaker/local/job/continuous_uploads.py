"""Folders that are uploaded while the containers run: checkpoints, and outputs in Continuous mode.

Standard library only. Not here: what is uploaded at the end (`objects`).
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from dagster_sagemaker.local.job.outcome import JobFailure
from dagster_sagemaker.local.job.s3_objects import ObjectStore, regular_files

_INTERVAL_SECONDS = 0.25
_PATIENCE = 4

_Version = tuple[int, int, int]


class ContinuousUploads:
    """Uploads what is new or changed in folders, in a thread of its own, until it is closed.

    A file is taken once it has not changed for one interval, so that a checkpoint is not stored half-written, or when
    it keeps changing for several; the copy that is stored was the same before and after copying. What is deleted stays
    in S3, as on AWS.

    Args:
        store: Where to.
        scratch: A folder for copies.
        folders: Folders and the URIs that their files are stored under.
        known: Whether what lies in the folders now came from S3 and need not go there again.
    """

    def __init__(self, store: ObjectStore, scratch: Path, folders: Sequence[tuple[Path, str]], *, known: bool = False):
        self._store = store
        self._copy = scratch / f"upload-{id(self)}"
        self._folders = folders
        self._stored: dict[Path, _Version] = dict(self._versions()) if known else {}
        self._waiting: dict[Path, tuple[_Version, int]] = {}
        self._closing = threading.Event()
        scratch.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._run, daemon=True)
        if folders:
            self._thread.start()

    def close(self) -> None:
        """Upload the rest, files that changed a moment ago included.

        Raises:
            JobFailure: Something could not be uploaded.
        """
        self._closing.set()
        if self._folders:
            self._thread.join()
        try:
            self._upload(settled_only=False)
        except OSError as error:
            raise JobFailure(f"InternalServerError: {error}") from error

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_SECONDS):
            try:
                self._upload(settled_only=True)
            except (OSError, JobFailure):
                # A file vanished, or the network is lost: the next round or the last one tries again, and reports.
                continue

    def _upload(self, *, settled_only: bool) -> None:
        for folder, uri in self._folders:
            for path, version in self._versions_in(folder):
                if self._stored.get(path) != version and (self._is_settled(path, version) or not settled_only):
                    self._store_copy(path, version, f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}")

    def _is_settled(self, path: Path, version: _Version) -> bool:
        last, looks = self._waiting.get(path, (None, 0))
        self._waiting[path] = (version, looks + 1)
        return last == version or looks >= _PATIENCE

    def _store_copy(self, path: Path, version: _Version, uri: str) -> None:
        shutil.copyfile(path, self._copy)
        if _version(path) == version:
            self._store.upload(self._copy, uri)
            self._stored[path] = version
            self._waiting.pop(path, None)
        self._copy.unlink()

    def _versions(self) -> list[tuple[Path, _Version]]:
        return [item for folder, _ in self._folders for item in self._versions_in(folder)]

    @staticmethod
    def _versions_in(folder: Path) -> list[tuple[Path, _Version]]:
        found = []
        for path in regular_files(folder):
            try:
                found.append((path, _version(path)))
            except FileNotFoundError:
                continue
        return found


def _version(path: Path) -> _Version:
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns)
