"""Folders that are uploaded while the containers run: checkpoints, and outputs in Continuous mode.

Standard library only. Not here: what is uploaded at the end (`objects`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from m5_assets.sagemaker.local.objects import ObjectStore, regular_files
from m5_assets.sagemaker.local.outcome import JobFailure

_INTERVAL_SECONDS = 0.25

_Version = tuple[int, int, int]


class ContinuousUploads:
    """Uploads what is new or changed in folders, in a thread of its own, until it is closed.

    A file is taken once it has not changed for one interval, so that a checkpoint is not stored half-written; what is
    deleted stays in S3, as on AWS.

    Args:
        store: Where to.
        folders: Folders and the URIs that their files are stored under.
        known: Whether what lies in the folders now came from S3 and need not go there again.
    """

    def __init__(self, store: ObjectStore, folders: Sequence[tuple[Path, str]], *, known: bool = False):
        self._store = store
        self._folders = folders
        self._stored: dict[Path, _Version] = dict(self._versions()) if known else {}
        self._seen: dict[Path, _Version] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Upload the rest, files that changed a moment ago included.

        Raises:
            JobFailure: Something could not be uploaded.
        """
        self._closing.set()
        self._thread.join()
        self._upload(settled_only=False)

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
                settled = self._seen.get(path) == version
                self._seen[path] = version
                if self._stored.get(path) != version and (settled or not settled_only):
                    self._store.upload(path, f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}")
                    self._stored[path] = version

    def _versions(self) -> list[tuple[Path, _Version]]:
        return [item for folder, _ in self._folders for item in self._versions_in(folder)]

    @staticmethod
    def _versions_in(folder: Path) -> list[tuple[Path, _Version]]:
        found = []
        for path in regular_files(folder):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((path, (status.st_ino, status.st_size, status.st_mtime_ns)))
        return found
