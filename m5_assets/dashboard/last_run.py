"""Read how Dagster's last run ended, without letting a slow storage hold up a page."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from m5_assets.dagster_internals import PARTITION_NAME_TAG

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastRun:
    """Dagster's newest run."""

    job: str
    week: str | None
    state: str
    changed_at: dt.datetime

    @property
    def failed(self) -> bool:
        """Whether someone should look at it."""
        return self.state in ("failure", "canceled")


PATIENCE_SECONDS = 0.3
"""How long a page waits for Dagster's storage, which may retry for many seconds, before it shows the last known run."""


def last_run_of(home: Path) -> Callable[[], LastRun | None]:
    """Return a function that reads the newest run of the Dagster instance in this folder.

    The function returns None without an instance or when its storage fails; it never creates one.
    """
    if not (home / "dagster.yaml").exists():
        return lambda: None
    instance = functools.lru_cache(maxsize=1)(lambda: dg.DagsterInstance.from_config(str(home)))

    def read() -> LastRun | None:
        try:
            records = instance().get_run_records(limit=1)
        except Exception as problem:  # noqa: BLE001  # storages are plug-ins with their own errors; pages work without
            _log.warning("cannot read Dagster's last run from the storage configured in %s: %s", home, problem)
            return None
        if not records:
            return None
        run = records[0].dagster_run
        return LastRun(
            run.job_name,
            run.tags.get(PARTITION_NAME_TAG),
            run.status.value.lower().replace("_", " "),
            records[0].update_timestamp,
        )

    return patient(read, PATIENCE_SECONDS)


def patient(read: Callable[[], LastRun | None], seconds: float) -> Callable[[], LastRun | None]:
    """Return a function that waits at most `seconds` for `read` and otherwise returns its last known result.

    A slower read continues in a background thread, and a later call returns its result.
    """
    worker = ThreadPoolExecutor(1, thread_name_prefix="last-run")
    lock = threading.Lock()
    known: LastRun | None = None
    pending: Future[LastRun | None] | None = None

    def latest() -> LastRun | None:
        nonlocal known, pending
        with lock:
            pending = pending or worker.submit(read)
            with contextlib.suppress(TimeoutError):
                known, pending = pending.result(seconds), None
            return known

    return latest
