"""Splits the time of a weekly run into what its steps compute and Dagster's overhead.

    make benchmark-weekly              # the newest run in $DAGSTER_HOME
    python benchmarks/weekly_split.py --instance DAGSTER_HOME [--week 2016-05-09]

All times are from the event log of an instance; only the loading of the code location is run, in fresh processes. A
step computes from its start to its end, and time with several steps in parallel counts once. The rest is Dagster's:
starting the run and its steps' processes, their events, and waiting for a pool slot. A step that follows a SageMaker
job counts as computing, which includes starting the job's process and polling it.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg

from m5_assets.dagster_internals import PARTITION_NAME_TAG

LOADS = 5
LOAD = "import m5_assets.definitions as location; location.defs.get_repository_def()"

Span = tuple[float, float]


def newest_run(instance: dg.DagsterInstance, week: str | None) -> dg.RunRecord:
    """Return the newest successful weekly run, of the given week or of any."""
    tags = {PARTITION_NAME_TAG: week} if week else {}
    only = dg.RunsFilter(job_name="weekly_forecast", tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
    found = instance.get_run_records(only, limit=1)
    if not found:
        sys.exit(f"no weekly run{f' of week {week}' if week else ''} has succeeded in this instance")
    return found[0]


def covered(spans: list[Span]) -> float:
    """Return the length of the union of time spans, in seconds."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def loads() -> list[tuple[float, float]]:
    """Return the seconds and CPU seconds of loading the code location, each time in a fresh process."""
    seconds = []
    for _ in range(LOADS):
        begin, used = time.perf_counter(), _processor_seconds()
        subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True)
        seconds.append((time.perf_counter() - begin, _processor_seconds() - used))
    return seconds


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report(instance: dg.DagsterInstance, week: str | None) -> str:
    """Return the split of a run and its longest steps as text."""
    record = newest_run(instance, week)
    run, begin, end = record.dagster_run, record.start_time, record.end_time
    if begin is None or end is None:
        sys.exit(f"run {run.run_id} has no start or end")
    steps = {
        stats.step_key: (stats.start_time, stats.end_time)
        for stats in instance.get_run_step_stats(run.run_id)
        if stats.start_time is not None and stats.end_time is not None
    }
    computing, first = covered(list(steps.values())), min(start for start, _ in steps.values())
    rows = [
        ("wall", end - begin),
        ("at least one step computes", computing),
        ("the rest: Dagster", end - begin - computing),
        ("  of it before the first step", first - begin),
        (f"sum over {len(steps)} steps", sum(stop - start for start, stop in steps.values())),
        ("in the queue before", begin - record.create_timestamp.timestamp()),
    ]
    wall, processor = (statistics.median(figures) for figures in zip(*loads(), strict=True))
    lines = [f"run {run.run_id}, week {run.tags.get(PARTITION_NAME_TAG)}", ""]
    lines += [f"{name:<32}{seconds:8.1f} s" for name, seconds in rows]
    lines += [
        f"{'loading the code location':<32}{wall:8.1f} s, {processor:.1f} of the processor; median of {LOADS}",
        "",
    ]
    longest = sorted(steps.items(), key=lambda item: item[1][0] - item[1][1])[:10]
    lines += [f"  {name:<30}{stop - start:8.1f} s" for name, (start, stop) in longest]
    return "\n".join(lines)


def main() -> None:
    """Print the split of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--instance", type=Path, default=os.environ.get("DAGSTER_HOME"), help="(default: $DAGSTER_HOME)"
    )
    parser.add_argument("--week", help="first day of the week (default: the newest run)")
    arguments = parser.parse_args()
    if arguments.instance is None:
        parser.error("give --instance or set DAGSTER_HOME")
    with dg.DagsterInstance.from_config(str(arguments.instance)) as instance:
        print(report(instance, arguments.week))


if __name__ == "__main__":
    main()
