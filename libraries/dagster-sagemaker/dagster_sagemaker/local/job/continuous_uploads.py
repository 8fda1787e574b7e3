"""Folders that are uploaded while the containers run: checkpoints, and outputs in Continuous mode.

Standard library only.
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
    """Uploads new and changed files of folders in a thread of its own, until it is closed.

    A file is uploaded once it has not changed for one interval, so that no half-written checkpoint is stored, or when
    it keeps changing for several intervals. Only a copy that did not change while it was made is stored. As on AWS,
    a deleted file stays in S3.

    Args:
        store: where to upload.
        scratch: a folder for copies.
        folders: the folders, and the URIs below which their files are stored.
        known: whether the present files came from S3 and need no upload.
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
        """Upload the rest, including files that changed a moment ago.

        Raises:
            JobFailure: something could not be uploaded.
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
                # A file vanished or the network is lost: the next round tries again, the last one reports the error.
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
