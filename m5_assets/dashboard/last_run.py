"""How Dagster's last run ended, where its storage is at hand. Not here: how fresh the tables are (`database`)."""

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
    """The newest run: its job, week, state in words and when it last changed."""

    job: str
    week: str | None
    state: str
    changed_at: dt.datetime

    @property
    def failed(self) -> bool:
        """Whether someone has to look at it."""
        return self.state in ("failure", "canceled")


PATIENCE_SECONDS = 0.3
"""A page waits no longer for Dagster's storage, which may retry for many seconds; it then shows what was last known."""


def last_run_of(home: Path) -> Callable[[], LastRun | None]:
    """Return a function that reads the newest run of the Dagster instance in this folder.

    Nothing is created: without an instance there, or when its storage does not answer, the function returns None.
    """
    if not (home / "dagster.yaml").exists():
        return lambda: None
    instance = functools.lru_cache(maxsize=1)(lambda: dg.DagsterInstance.from_config(str(home)))

    def read() -> LastRun | None:
        try:
            records = instance().get_run_records(limit=1)
        except Exception as problem:  # noqa: BLE001  # storages are plug-ins with errors of their own; no page needs them
            _log.warning("Dagster's last run is not known, its storage in %s does not answer: %s", home, problem)
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
    """Return a function that gives what `read` gives within so many seconds, else what it gave last.

    A read that takes longer goes on meanwhile, in one thread; the next call has its result.
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
