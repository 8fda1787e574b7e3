#!/usr/bin/env python3
"""Measures the dashboard's pages over HTTP, on the database of the current settings.

    dashboard_pages.py [--times 20] [--week 2016-05-16]

Prints, for each page, the time of the first response (cold caches), the median and the slowest of the others, the CPU
time of the dashboard (without PostgreSQL) per response, which other work on the machine does not affect, and the size.
Exits with 1 if any response took as long as the limit, a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from sqlalchemy import text

from m5_assets.resources.postgres import PostgresResource
from m5_assets.settings import settings

PORT = 8059
PAGES = {
    "overview": "/?week={week}",
    "explore, all stores": "/explore?week={week}",
    "explore, a store's department": "/explore?week={week}&store={store}&dept={dept}",
    "explore, an item in a store": "/explore?week={week}&store={store}&item={item}",
    "explore, an item in all stores, a year": "/explore?week={week}&item={item}&history=364",
    "explore, search": "/explore?week={week}&q={part}",
    "explore, Excel": "/explore.xlsx?week={week}&store={store}&item={item}",
    "exceptions": "/exceptions?week={week}",
    "exceptions, filtered": "/exceptions?week={week}&kind=out_of_stock&store={store}",
    "exceptions, Excel": "/exceptions.xlsx?week={week}",
    "accuracy": "/accuracy?week={week}",
    "accuracy, worst items": "/accuracy?week={week}&level=10",
}

NEWEST = "SELECT max(week) FROM m5.load_log WHERE table_name = 'series_outlook'"
LOADED = """
SELECT (SELECT count(*) FROM m5.series_outlook WHERE week = :week),
    (SELECT count(*) FROM m5.forecast WHERE week = :week),
    (SELECT count(DISTINCT week) FROM m5.load_log WHERE table_name = 'sales')
"""
BEST_SELLER = """
SELECT item_id, dept_id, store_id FROM m5.series_outlook JOIN m5.series_hierarchy USING (series_id)
WHERE week = :week ORDER BY forecast_28 DESC LIMIT 1
"""


def main() -> None:
    """Measure all pages and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--week", help="first day of the week (default: the newest)")
    parser.add_argument("--limit", type=float, default=1.0, help="seconds from which on a response is too slow")
    arguments = parser.parse_args()
    source = settings()
    engine = PostgresResource.of(source).engine()
    with engine.connect() as connection:
        week = arguments.week or str(connection.execute(text(NEWEST)).scalar_one())
        series, forecasts, weeks = connection.execute(text(LOADED), {"week": week}).one()
        item, dept, store = connection.execute(text(BEST_SELLER), {"week": week}).one()
    print(f"week {week}: {series:,} series, {forecasts:,} forecasts; {weeks} weeks of sales\n")
    names = {"week": week, "item": item, "dept": dept, "store": store, "part": item[:-1]}
    command = [str(Path(sys.executable).with_name("m5")), "dashboard", "--port", str(PORT)]
    server = subprocess.Popen(command)
    try:
        slowest = measure({name: path.format(**names) for name, path in PAGES.items()}, arguments.times, server.pid)
    finally:
        server.terminate()
        server.wait()
    sys.exit(slowest >= arguments.limit)


def measure(pages: dict[str, str], times: int, pid: int) -> float:
    """Print each page's times and return the slowest, in seconds."""
    wait_until_served()
    print("| page | first, s | median, s | slowest, s | CPU, s | kB |\n| --- | --- | --- | --- | --- | --- |")
    slowest = 0.0
    for name, path in pages.items():
        first, size = answer(path)
        before = processor_seconds(pid)
        others = [answer(path)[0] for _ in range(times)]
        spent = (processor_seconds(pid) - before) / times
        times_shown = f"{first:.3f} | {statistics.median(others):.3f} | {max(others):.3f} | {spent:.3f}"
        print(f"| {name} | {times_shown} | {size / 1e3:.0f} |")
        slowest = max(slowest, first, *others)
    return slowest


def processor_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answer(path: str) -> tuple[float, int]:
    """Request a page and return the seconds and the size in bytes."""
    begin = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}") as response:
        size = len(response.read())
    return time.perf_counter() - begin, size


def wait_until_served() -> None:
    """Wait until the server answers a request that is no page, so that no page is cached before it is measured."""
    for _ in range(600):
        try:
            answer("/items.json?q=zz")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the dashboard did not start within a minute; see its output above")


if __name__ == "__main__":
    main()
