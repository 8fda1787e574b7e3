"""How Dagster's last run ended, where its storage is at hand. Not here: how fresh the tables are (`database`)."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG  # dagster exports no public name for it

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


def last_run_of(home: Path) -> Callable[[], LastRun | None]:
    """Return a function that reads the newest run of the Dagster instance in this folder.

    Nothing is created: without an instance there, the function returns None.
    """
    if not (home / "dagster.yaml").exists():
        return lambda: None
    instance = dg.DagsterInstance.from_config(str(home))

    def read() -> LastRun | None:
        records = instance.get_run_records(limit=1)
        if not records:
            return None
        run = records[0].dagster_run
        return LastRun(
            run.job_name,
            run.tags.get(PARTITION_NAME_TAG),
            run.status.value.lower().replace("_", " "),
            records[0].update_timestamp,
        )

    return read
