"""Which days the landed and the loaded sales cover, found in the first lines of the files and the names of folders."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import subprocess
import sys

from pyarrow import fs

from m5_assets.resources.landing_files import Landing, Span
from m5_assets.resources.landing_files.folder import Folder

_PATIENCE_SECONDS = 60
_S3 = "s3://"

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


def _loaded(lake: str) -> list[Span]:
    # Not by the resource `Lake`: it imports Dagster, which would take most of the time, and creates its folder.
    sales, totals = (_weeks(Folder.at(lake), dataset) for dataset in ("raw_sales", "store_dept_sales"))
    return [Span(min(sales + totals), min(sales), max(sales) + dt.timedelta(days=6))] if sales else []


def _weeks(lake: Folder, dataset: str) -> list[dt.date]:
    selector = fs.FileSelector(f"{lake.path}/{dataset}", allow_not_found=True)
    names = [found.base_name for found in lake.filesystem.get_file_info(selector)]
    return [dt.date.fromisoformat(name.removeprefix("week=")) for name in names if name.startswith("week=")]


if __name__ == "__main__":
    found = look(*sys.argv[1:])
    days = [found.first_day, found.first_sales_day, found.last_day] if found else []
    print(json.dumps([day.isoformat() for day in days]))  # noqa: T201
