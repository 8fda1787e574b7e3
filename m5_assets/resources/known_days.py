"""Which days the landed and the loaded sales cover, found in the first lines of the files and the names of folders."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import subprocess
import sys
from pathlib import Path

from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing, Span

_PATIENCE_SECONDS = 30
_WEEK = dt.timedelta(days=7)
_S3 = "s3://"
_DATASETS = ("raw_sales", "store_dept_sales")

log = logging.getLogger(__name__)


def known_days(landing: str, lake: str) -> Span | None:
    """Return the days that the landed files and the lake cover together; None if there are none or S3 does not answer.

    S3 is asked by a process of its own: this one may be forked, which PyArrow's S3 client would not survive.

    Args:
        landing: folder or `s3://` URI of the landed files.
        lake: folder or `s3://` URI of the lake.
    """
    if not (landing.startswith(_S3) or lake.startswith(_S3)):
        return look(landing, lake)
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, landing, lake],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
        )
        days = [dt.date.fromisoformat(day) for day in json.loads(done.stdout)]
    except (OSError, ValueError, subprocess.SubprocessError) as problem:
        log.warning("the landed days are unknown, so all weeks since M5's first one are offered: %s", problem)
        return None
    return Span(*days) if days else None


def look(landing: str, lake: str) -> Span | None:
    """Return the same in this process. What cannot be read counts as absent: loading it says what is wrong with it."""
    spans = []
    with contextlib.suppress(Exception):
        spans.append(Landing(landing).span())
    with contextlib.suppress(Exception):
        spans += _loaded(lake)
    if not spans:
        return None
    return Span(
        min(span.first_day for span in spans),
        min(span.first_sales_day for span in spans),
        max(span.last_day for span in spans),
    )


def _loaded(root: str) -> list[Span]:
    if not root.startswith(_S3) and not Path(root).exists():
        return []  # a lake would create it
    lake = Lake(root=root)
    sales, totals = ([dt.date.fromisoformat(key) for key in lake.folders(name)] for name in _DATASETS)
    return [Span(min(sales + totals), sales[0], sales[-1] + _WEEK - dt.timedelta(days=1))] if sales else []


if __name__ == "__main__":
    found = look(*sys.argv[1:])
    days = [found.first_day, found.first_sales_day, found.last_day] if found else []
    print(json.dumps([day.isoformat() for day in days]))  # noqa: T201
