"""How a running run looks: a live table of its steps in a terminal, one plain line per event anywhere else.

While a run is shown, what Dagster, its steps and libraries print is kept in a log file. Not here: what the events mean
(`m5_assets.cli.run_progress`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import dagster as dg
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from m5_assets.automation.housekeeping import logs_folder
from m5_assets.cli.run_progress import Line, RunProgress, Step, usual_seconds
from m5_assets.private_folder import private_folder

_LOOK_SECONDS = 0.5
_PAGE = 1000
_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "warning": ("!", "yellow"), "again": ("↻", "yellow")}
_QUARTER = 0.25


@dataclass(frozen=True)
class Ran:
    """What a run has done.

    Attributes:
        seconds: from its creation to its end.
        rows: rows of the assets that it made.
        checks: number of checks.
        warnings: number of checks that warn.
        log_file: what Dagster, its steps and libraries printed.
    """

    seconds: float
    rows: int
    checks: int
    warnings: int
    log_file: Path


@functools.cache
def log_file(instance: dg.DagsterInstance) -> Path:
    """Return the file that keeps what is printed during this command's runs; `m5 housekeeping` removes old ones.

    One for all of them, because the server that steps are forked from starts with the first and prints to its file.
    """
    folder = logs_folder(instance)
    private_folder(folder)
    return folder / f"{dt.datetime.now():%Y-%m-%dT%H%M%S}-{os.getpid()}.log"


@contextlib.contextmanager
def shown(instance: dg.DagsterInstance, run: dg.DagsterRun, title: str) -> Iterator[Callable[[], Ran]]:
    """Show a run's progress while the body executes it in this process; yield a function that says what it has done.

    Args:
        instance: holds the run's event log.
        run: the run, not yet begun.
        title: what the run does, for its first line.
    """
    assert run.execution_plan_snapshot_id is not None  # noqa: S101  # every run that is made for a job has one
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    progress = RunProgress([*plan.step_keys_to_execute], *usual_seconds(instance, run.job_name))
    file = log_file(instance)
    begun = time.monotonic()
    with _printing_to(file) as stderr:
        console = Console(file=stderr)
        screen = _Live(console, progress, title) if console.is_terminal else _Plain(console, progress, title)
        with screen, _following(instance, run.run_id, progress, screen):
            yield lambda: Ran(
                time.monotonic() - begun, progress.rows, progress.checks, progress.warnings + progress.errors, file
            )


@contextlib.contextmanager
def _printing_to(file: Path) -> Iterator[TextIO]:
    """Let this process and its children print to a file; yield a stream to where stderr led before."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with file.open("ab") as sink, os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, buffering=1) as stderr:
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield stderr
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


@contextlib.contextmanager
def _following(instance: dg.DagsterInstance, run_id: str, progress: RunProgress, screen: _Plain) -> Iterator[None]:
    """Read the run's event log in a thread until the body is over, then what is left of it."""
    over = threading.Event()
    cursor: str | None = None

    def look() -> None:
        nonlocal cursor
        more = True
        while more:
            page = instance.get_records_for_run(run_id, cursor=cursor, limit=_PAGE)
            cursor, more = page.cursor, page.has_more
            for line in progress.take([record.event_log_entry for record in page.records]):
                screen.say(line)
        screen.update()

    def follow() -> None:
        while not over.wait(_LOOK_SECONDS):
            look()

    thread = threading.Thread(target=follow, name="run display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


class _Plain:
    """One line per event: a log, a pipe, a file."""

    def __init__(self, console: Console, progress: RunProgress, title: str) -> None:
        self._console, self._progress, self._title = console, progress, title
        self._told: dict[str, float] = {}

    def __enter__(self) -> None:
        self._write(f"{self._title}: {self._progress.steps} steps{self._estimate()}")

    def __exit__(self, *_: object) -> None:
        return

    def _estimate(self) -> str:
        return f", {duration(self._progress.usual_run)} last time" if self._progress.usual_run else ""

    def _write(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self._console.file, flush=True)

    def say(self, line: Line) -> None:
        took = f" in {duration(line.seconds)}" if line.seconds is not None else ""
        self._write(f"{line.kind:<9} {line.name}{took}{': ' if line.text else ''}{line.text}")

    def update(self) -> None:
        """Report jobs that have done another quarter of their work."""
        for step in self._progress.running.values():
            if step.share - self._told.get(step.key, 0.0) >= _QUARTER and step.share < 1:
                self._told[step.key] = step.share
                self._write(f"{step.share:>8.0%}  {step.name}: {step.doing}")


class _Live(_Plain):
    """Finished steps as lines, below them the running ones with bars, and the whole."""

    def __init__(self, console: Console, progress: RunProgress, title: str) -> None:
        super().__init__(console, progress, title)
        self._live = Live(
            console=console, get_renderable=self._picture, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> None:
        self._console.print(Text(self._title, "bold"))
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: Line) -> None:
        mark, colour = _MARKS.get(line.kind, (line.kind, ""))
        row = _grid()
        took = duration(line.seconds) if line.seconds is not None else ""
        row.add_row(Text(mark, colour), line.name, Text(took, "dim"), line.text)
        self._live.console.print(row)

    def update(self) -> None:
        """Nothing to do: the picture is drawn ten times a second by itself."""

    def _picture(self) -> RenderableType:
        now, rows = time.time(), _grid()
        for step in [*self._progress.running.values()]:
            rows.add_row(Text("·", "cyan"), step.name, Text(duration(now - (step.began or now)), "dim"), _bar(step))
        share, left = self._progress.share(now), self._progress.seconds_left(now)
        whole = _grid()
        text = f"{len(self._progress.ended)} of {self._progress.steps} steps"
        if left is not None:
            text += f", about {duration(left)} left"
        passed = duration(now - self._progress.began) if self._progress.began else ""
        whole.add_row("", "", Text(passed, "dim"), Group(ProgressBar(100, 100 * share, width=30), Text(text, "dim")))
        return Group(rows, whole)


def _grid() -> Table:
    """Return a table without lines: mark, asset, time, the rest."""
    grid = Table.grid(padding=(0, 1), expand=True)
    for width, side in ((1, "left"), (26, "left"), (12, "right")):
        grid.add_column(width=width, justify=side, no_wrap=True)  # type: ignore[arg-type]  # a literal in the tuple
    grid.add_column(ratio=1)
    return grid


def _bar(step: Step) -> RenderableType:
    if not step.doing:
        return ""
    row = Table.grid(padding=(0, 1))
    row.add_row(ProgressBar(100, 100 * step.share, width=20), f"{step.share:.0%}", Text(step.doing, "dim"))
    return row


def duration(seconds: float) -> str:
    """Return seconds in words: `0.4 s`, `41 s`, `3 min 5 s`, `1 h 2 min`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = timedelta(seconds=round(seconds)).total_seconds()
    minutes, rest = divmod(int(whole), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
