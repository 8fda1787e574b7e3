"""The chaos test: injects faults into a week's run at random moments and checks whether the week completes.

One small platform with its own webserver, daemon and PostgreSQL serves all trials. In each trial the same week is built
from scratch, and a fault strikes at a moment drawn uniformly from the undisturbed week's duration (converted to steps
done, so that a busy machine does not shift it). Killed services are restarted, as a service manager would do; then the
test only waits. A week that fails is re-executed, as a person would in the UI, up to three times. Rows, lake and jobs
are compared with those of the undisturbed week.

Trials are appended to a file, from which a rerun resumes. Needs Linux, root (to mount a file system in memory as the
platform's home) and the development environment.

    python benchmarks/chaos.py --times 20 --trials trials.jsonl --output docs/chaos.md
"""

from __future__ import annotations

import argparse
import bisect
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from chaos_faults import FAULTS
from chaos_platform import Platform, Rows, State, differences, timeline
from chaos_s3 import S3_FAULTS, S3Platform

_BY_ITSELF, _BY_HAND, _NOT = _OUTCOMES = "by itself", "executed again by hand", "not"
_LIMIT_SECONDS = 1200.0
_TIMES_BY_HAND = 3
_MARK = "<!-- the table, written by benchmarks/chaos.py -->"


@dataclass(frozen=True)
class Site:
    """A kind of platform and its faults."""

    name: str
    platform: type[Platform]
    faults: Mapping[str, Callable[[Any], str]]

    def only(self, names: Sequence[str]) -> Site:
        """Return the site with some of its faults."""
        return replace(self, faults={name: fault for name, fault in self.faults.items() if name in names})


SITES = (Site("s3", S3Platform, {**S3_FAULTS, **FAULTS}), Site("folder", Platform, FAULTS))


@dataclass(frozen=True)
class Undisturbed:
    """The week without faults: when its steps end, when its jobs run, and its results."""

    ends: Sequence[float]
    jobs_run: Sequence[tuple[float, float]]
    jobs: int
    rows: Rows
    digests: dict[str, str]


@dataclass(frozen=True)
class Strike:
    """A fault, the moment it struck (as a share of the undisturbed week's duration) and what it did."""

    fault: str
    moment: float
    what: str


@dataclass(frozen=True)
class Trial:
    """The outcome of a week with faults.

    Attributes:
        site: the kind of platform.
        strikes: the faults, in order.
        outcome: whether the week completed, and how.
        seconds: from the request of the week to its end.
        runs: number of runs.
        jobs_needed: number of jobs of the undisturbed week, plus one for each destroyed job.
        jobs_started: number of jobs created.
        jobs_destroyed: number of jobs that ended as Failed or Stopped.
        jobs_left: number of jobs still running.
        rows_lost: rows of the undisturbed database that are missing, over all tables.
        rows_extra: rows that are not in the undisturbed database.
        lake_differs: datasets whose content differs from the undisturbed week's.
    """

    site: str
    strikes: Sequence[Strike]
    outcome: str
    seconds: float
    runs: int
    jobs_needed: int
    jobs_started: int
    jobs_destroyed: int
    jobs_left: int
    rows_lost: int
    rows_extra: int
    lake_differs: Sequence[str]

    @classmethod
    def read(cls, line: str) -> Trial:
        """Parse a trial from its line in the file."""
        content = json.loads(line)
        return cls(**content | {"strikes": [Strike(**strike) for strike in content["strikes"]]})


def undisturbed(platform: Platform) -> Undisturbed:
    """Start the services, build the week through them, and return its measurements.

    Raises:
        SystemExit: the week fails, or differs from the one built on the command line.
    """
    rows, digests = platform.rows(), platform.digests()
    platform.start("daemon")
    platform.start("webserver")
    platform.clear_week()
    platform.launch("undisturbed")
    if platform.wait(_LIMIT_SECONDS) != "done":
        raise SystemExit("the undisturbed week failed")
    if platform.rows() != rows or platform.digests() != digests:
        raise SystemExit("two undisturbed weeks differ, so nothing can be compared with them")
    return Undisturbed(*timeline(platform.instance, platform.runs()[0]), len(platform.jobs()), rows, digests)


def play(platform: Platform, site: Site, faults: Sequence[str], week: Undisturbed, draw: random.Random) -> Trial | None:
    """Build the week with faults; return None if it ended before any fault struck."""
    planned = sorted((_moment(fault, week, draw), fault) for fault in faults)
    platform.clear_week()
    platform.launch(f"{time.time():.0f}")
    strikes: list[Strike] = []
    begin, by_hand = time.monotonic(), 0
    while (state := _strike_next(platform, site, planned, week, strikes)) == "failed" and by_hand < _TIMES_BY_HAND:
        by_hand += 1
        platform.reexecute()
    if not strikes:
        return None
    jobs = [status for _, status in platform.jobs()]
    destroyed = sum(status in ("Failed", "Stopped") for status in jobs)
    rows, digests = platform.rows(), platform.digests()
    lost, extra = differences(week.rows, rows)
    return Trial(
        site=site.name,
        strikes=strikes,
        outcome=_NOT if state != "done" else _BY_HAND if by_hand else _BY_ITSELF,
        seconds=round(time.monotonic() - begin, 1),
        runs=len(platform.runs()),
        jobs_needed=week.jobs + destroyed,
        jobs_started=len(jobs),
        jobs_destroyed=destroyed,
        jobs_left=sum(status not in ("Completed", "Failed", "Stopped") for status in jobs),
        rows_lost=lost,
        rows_extra=extra,
        lake_differs=[name for name in week.digests | digests if week.digests.get(name) != digests.get(name)],
    )


def _moment(fault: str, week: Undisturbed, draw: random.Random) -> float:
    """Draw a moment of the undisturbed week; for the fault "job", a moment at which a job runs."""
    while True:
        moment = draw.uniform(0, week.ends[-1])
        if fault != "job" or any(begin <= moment <= end for begin, end in week.jobs_run):
            return moment


def _strike_next(
    platform: Platform,
    site: Site,
    planned: list[tuple[float, str]],
    week: Undisturbed,
    strikes: list[Strike],
) -> State:
    """Inject the planned faults until the week is built or has failed; later faults stay in the plan."""
    while planned:
        moment, fault = planned[0]
        steps = bisect.bisect(week.ends, moment)
        state = platform.wait(_LIMIT_SECONDS, steps)
        if state == "running":
            time.sleep(moment - (week.ends[steps - 1] if steps else 0.0))
            state = platform.state()
        if state in ("done", "failed"):
            return state
        planned.pop(0)
        if what := site.faults[fault](platform):
            strikes.append(Strike(fault, round(moment / week.ends[-1], 3), what))
    return platform.wait(_LIMIT_SECONDS)


def play_site(site: Site, times: int, together: int, trials: Path) -> None:
    """Run the missing trials of a site, each with the faults that have struck least often so far."""
    draw = random.Random()  # noqa: S311  # not for secrets; unseeded, so that a resumed series does not repeat itself
    with tempfile.TemporaryDirectory(prefix="m5-chaos-") as folder:
        Path(folder).chmod(0o755)  # the account that runs PostgreSQL needs access
        platform = site.platform(Path(folder) / "home")
        try:
            platform.prepare()
            week = undisturbed(platform)
            print(f"undisturbed: {week.ends[-1]:.0f} s, {len(week.ends)} steps, {week.jobs} jobs", flush=True)
            while missing := lacking(site, times, trials):
                done = play(platform, site, missing[:together], week, draw)
                if done is not None:
                    with trials.open("a") as file:
                        file.write(json.dumps(asdict(done)) + "\n")
                    print(done, flush=True)
        finally:
            platform.close()


def lacking(site: Site, times: int, trials: Path) -> list[str]:
    """Return the faults of a site that have struck fewer than `times` times, rarest first."""
    played = Counter(strike.fault for trial in read(trials) for strike in trial.strikes)
    return sorted((name for name in site.faults if played[name] < times), key=lambda name: played[name])


def table(trials: Sequence[Trial]) -> str:
    """Return the chaos table in Markdown."""
    head = ["fault", "weeks", *_OUTCOMES, "jobs started", "needed", "replacing destroyed ones", "left running"]
    head += ["rows lost", "rows doubled", "lake differs", "median s"]
    lines = ["| " + " | ".join(head) + " |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    for fault in dict.fromkeys(name for site in SITES for name in site.faults):
        if found := [trial for trial in trials if fault in {strike.fault for strike in trial.strikes}]:
            lines.append(_row(fault, found))
    return "\n".join([*lines, _row("all weeks", trials)])


def _row(name: str, trials: Sequence[Trial]) -> str:
    cells = [name, len(trials), *(sum(trial.outcome == outcome for trial in trials) for outcome in _OUTCOMES)]
    for figure in ("jobs_started", "jobs_needed", "jobs_destroyed", "jobs_left", "rows_lost", "rows_extra"):
        cells.append(sum(getattr(trial, figure) for trial in trials))
    cells += [sum(bool(trial.lake_differs) for trial in trials), round(statistics.median(t.seconds for t in trials))]
    return "| " + " | ".join(map(str, cells)) + " |"


def read(path: Path) -> list[Trial]:
    """Return the trials recorded so far."""
    return [Trial.read(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Run the missing trials and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="trials per fault")
    parser.add_argument("--together", type=int, default=1, help="faults per week, each at its own moment")
    parser.add_argument("--sites", default=",".join(site.name for site in SITES), help="comma-separated")
    parser.add_argument("--faults", help="comma-separated; otherwise all")
    parser.add_argument("--trials", type=Path, default=Path("chaos-trials.jsonl"), help="file of recorded trials")
    parser.add_argument("--output", type=Path, help="Markdown file whose table is replaced")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # runs the cleanup, too
    sites = [site.only(options.faults.split(",")) for site in SITES] if options.faults else SITES
    for site in sites:
        if site.name in options.sites.split(",") and lacking(site, options.times, options.trials):
            play_site(site, options.times, options.together, options.trials)
    text = table(read(options.trials))
    print(text)
    if options.output:
        head, mark, _ = options.output.read_text().partition(_MARK)
        options.output.write_text(f"{head}{mark}\n\n{text}\n")


if __name__ == "__main__":
    main()
