"""Kills what makes a week, at random moments, and looks whether the week completes: the chaos table.

Each trial is a platform of its own: a copy of a small sample's home with its own webserver, daemon and PostgreSQL. The
week is asked for, a fault strikes at a random moment of the run, what a service manager would start again is started
again, and then nothing is done but waiting. A week that does not come by itself is executed again by hand, once.

    python benchmarks/chaos.py --times 20 --output docs/chaos.md
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.load import read_forecast
from m5_assets.resources.postgres.server import EmbeddedServer
from m5_assets.weeks import Week

FIRST, WEEK = Week.parse("2016-04-18"), Week.parse("2016-04-25")
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
SETTINGS = {
    "M5_LAST_WEEK": "2016-05-16",
    "M5_HISTORY_WEEKS": "56",
    "M5_CADENCE_WEEKS": "1",  # every week trains, so that training is struck too
    "M5_GBM_HYPERPARAMETERS": '{"iterations": "5", "department_iterations": "5"}',
    "M5_TOTALS_HYPERPARAMETERS": '{"trees_iterations": "5", "stack_iterations": "5"}',
    "M5_LSTM_HYPERPARAMETERS": '{"windows": "1024", "batch_size": "128", "hidden": "16", "encoder_days": "28"}',
}
_BY_ITSELF, _BY_HAND, _NOT = "by itself", "executed again by hand", "not"
_SETTLE_SECONDS = 150.0  # monitoring looks every 30 s, and a retried run takes a while to start


@dataclass
class Platform:
    """One home with its services."""

    home: Path
    services: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every process of this home, and no others of ours."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("M5_", "DAGSTER_"))}
        return kept | SETTINGS | {"M5_HOME": str(self.home), "DAGSTER_HOME": str(self.home / "dagster")}

    @property
    def lake(self) -> Lake:
        """The home's lake."""
        return Lake(root=str(self.home / "lake"))

    @contextlib.contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Give the home's Dagster instance."""
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            yield instance

    def call(self, *command: str) -> None:
        """Run a program of the environment to its end."""
        log = self.home / "calls.log"
        with log.open("ab") as stream:
            subprocess.run(
                [str(BIN / command[0]), *command[1:]],
                env=self.environment,
                cwd=ROOT,
                stdout=stream,
                stderr=stream,
                check=True,
            )

    def start(self, name: str) -> None:
        """Start a service as a service manager would, in a group of its own."""
        command = {
            "daemon": ["dagster-daemon", "run", "-w", str(ROOT / "workspace.yaml")],
            "webserver": ["dagster-webserver", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1", "-p", "0"],
        }[name]
        with (self.home / f"{name}.log").open("ab") as stream:
            self.services[name] = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                env=self.environment,
                cwd=ROOT,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def ask(self) -> None:
        """Put the week's run into the queue."""
        tags = json.dumps({PARTITION_NAME_TAG: WEEK.key})
        workspace = str(ROOT / "workspace.yaml")
        self.call("dagster", "job", "launch", "-w", workspace, "-j", "weekly_forecast", "--tags", tags)

    def runs(self) -> list[dg.DagsterRun]:
        """Return the week's runs, the latest first."""
        with self.instance() as instance:
            return list(
                instance.get_runs(dg.RunsFilter(job_name="weekly_forecast", tags={PARTITION_NAME_TAG: WEEK.key}))
            )

    def jobs(self) -> list[str]:
        """Return the names of the week's jobs, attempts included."""
        return sorted(p.name for p in (self.home / "sagemaker" / "jobs").glob("*/*") if WEEK.key in p.name)

    def content(self) -> tuple[str, str]:
        """Name the week's forecast in the lake and in PostgreSQL."""
        engine = PostgresResource(home=str(self.home)).engine()
        rows = read_forecast(engine, WEEK.first_day).to_pandas()
        engine.dispose()
        text = f"{len(rows)} rows, {rows['ensemble'].sum():.3f} units"
        return self.lake.get("ensemble_forecast", WEEK.key).digest, text

    def processes(self, words: str) -> list[int]:
        """Return this platform's processes whose command line holds some words."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if not folder.name.isdigit() or words not in (folder / "cmdline").read_text().replace("\0", " "):
                    continue
                if str(self.home).encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        """End everything that belongs to this home, and remove it."""
        for service in self.services.values():
            _kill_group(service)
        for pid in self.processes(""):
            if pid != os.getpid():
                _kill(pid)
        with contextlib.suppress(Exception):
            EmbeddedServer(self.home).stop()
        shutil.rmtree(self.home, ignore_errors=True)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(service: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.wait()


def kill_service(name: str) -> Callable[[Platform], str]:
    """Return the fault that kills a service with its code servers; runs that it started live on or die with it."""

    def strike(platform: Platform) -> str:
        _kill_group(platform.services[name])
        platform.start(name)
        return f"{name} killed"

    return strike


def kill_run_worker(platform: Platform) -> str:
    """Kill the run's own process."""
    for run in platform.runs()[:1]:
        with platform.instance() as instance:
            for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                data = entry.get_dagster_event().engine_event_data.metadata.get("pid")
                if isinstance(data, dg.TextMetadataValue) and data.text and entry.step_key is None:
                    _kill(int(data.text))
                    return f"run worker {data.text} killed"
    return "no run worker yet"


def kill_job(platform: Platform) -> str:
    """Kill a job's program, if one runs; wait for the next one otherwise."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = platform.processes("m5_assets.containers.")
        if found:
            _kill(random.choice(found))  # noqa: S311  # a moment, no secret
            return "a job's program killed"
        time.sleep(0.2)
    return "no job ran"


def kill_postgres(platform: Platform) -> str:
    """Kill the database's postmaster; its other processes end with it."""
    pid = (platform.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
    _kill(int(pid))
    return "postgres killed"


def power_cut(platform: Platform) -> str:
    """Kill everything at once, and start the services again."""
    for pid in platform.processes(""):
        if pid != os.getpid():
            _kill(pid)
    for name, service in list(platform.services.items()):
        _kill_group(service)
        platform.start(name)
    return "everything killed"


FAULTS: dict[str, Callable[[Platform], str]] = {
    "daemon": kill_service("daemon"),
    "webserver": kill_service("webserver"),
    "run worker": kill_run_worker,
    "job": kill_job,
    "postgres": kill_postgres,
    "power cut": power_cut,
}


@dataclass(frozen=True)
class Trial:
    """What came of one strike."""

    outcome: str
    seconds: float
    jobs_started: int
    same_rows: bool
    note: str


def prepare(folder: Path) -> Platform:
    """Make the home that every trial is a copy of: a sample, a first week, the next week's back-history."""
    base = Platform(folder / "base")
    base.home.mkdir()
    base.call("m5", "sample", str(base.home / "landing"), "--items", "8", "--weeks", "57", "--seed", "3")
    base.call("m5", "forecast", "--week", FIRST.key)
    EmbeddedServer(base.home).stop()
    return base


def undisturbed(base: Platform) -> tuple[float, list[str], tuple[str, str]]:
    """Return how long a week takes, its jobs and its content, when nothing strikes."""
    platform = _copy(base)
    try:
        begin = _begin(platform)
        if _wait(platform, time.monotonic() + 900) != _BY_ITSELF:
            raise SystemExit(f"the undisturbed week failed; see {platform.home}/daemon.log")
        return time.monotonic() - begin, platform.jobs(), platform.content()
    finally:
        platform.close()


def trial(base: Platform, fault: str, moment: float, needed: tuple[str, str], limit: float) -> Trial | None:
    """Strike once, `moment` seconds after the run's start; None where the week was made by then."""
    platform = _copy(base)
    try:
        begin = _begin(platform)
        time.sleep(moment)
        if platform.runs()[0].is_finished:
            return None
        note = FAULTS[fault](platform)
        outcome = _wait(platform, time.monotonic() + limit)
        if outcome != _BY_ITSELF:
            platform.ask()
            outcome = _BY_HAND if _wait(platform, time.monotonic() + limit) == _BY_ITSELF else _NOT
        same = outcome != _NOT and platform.content() == needed
        return Trial(outcome, time.monotonic() - begin, len(platform.jobs()), same, note)
    finally:
        platform.close()


def _copy(base: Platform) -> Platform:
    home = Path(tempfile.mkdtemp(prefix="trial-", dir=base.home.parent)) / "home"
    shutil.copytree(base.home, home, symlinks=True)
    return Platform(home)


def _begin(platform: Platform) -> float:
    """Start the services, ask for the week and return when its run has started."""
    platform.start("daemon")
    platform.start("webserver")
    platform.ask()
    deadline = time.monotonic() + 180
    while not any(run.status == dg.DagsterRunStatus.STARTED for run in platform.runs()):
        if time.monotonic() > deadline:
            raise SystemExit(f"no run has started; see {platform.home}/daemon.log")
        time.sleep(0.5)
    return time.monotonic()


def _wait(platform: Platform, deadline: float) -> str:
    """Wait until the latest run has succeeded, or has failed and stays so."""
    failed_since: float | None = None
    while time.monotonic() < deadline:
        latest = platform.runs()[0].status
        if latest == dg.DagsterRunStatus.SUCCESS:
            return _BY_ITSELF
        if latest in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
            failed_since = failed_since or time.monotonic()
            if time.monotonic() - failed_since > _SETTLE_SECONDS:
                return _NOT
        else:
            failed_since = None
        time.sleep(1.0)
    return _NOT


def table(trials: dict[str, list[Trial]], needed: int) -> str:
    """Return the chaos table in Markdown."""
    head = ["killed", "times", _BY_ITSELF, _BY_HAND, _NOT, "jobs started / needed", "rows lost or doubled", "median s"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for fault, done in trials.items():
        counts = [sum(t.outcome == outcome for t in done) for outcome in (_BY_ITSELF, _BY_HAND, _NOT)]
        started = f"{sum(t.jobs_started for t in done)} / {needed * len(done)}"
        wrong = sum(not t.same_rows for t in done)
        seconds = sorted(t.seconds for t in done)[len(done) // 2]
        cells = [fault, len(done), *counts, started, f"{wrong} weeks", f"{seconds:.0f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--faults", default=",".join(FAULTS), help="joined by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    moments = random.Random(options.seed)  # noqa: S311  # moments, no secrets
    with tempfile.TemporaryDirectory(prefix="m5-chaos-") as folder:
        base = prepare(Path(folder))
        duration, jobs, content = undisturbed(base)
        print(f"undisturbed: {duration:.0f} s, {len(jobs)} jobs, {content[1]}", flush=True)
        trials: dict[str, list[Trial]] = {}
        for fault in options.faults.split(","):
            struck = trials.setdefault(fault, [])
            while len(struck) < options.times:
                moment = moments.uniform(0, duration)
                done = trial(base, fault, moment, content, 4 * duration + 300)
                if done is not None:
                    struck.append(done)
                    print(f"{fault} {len(struck)}: at {moment:.0f} s, {done}", flush=True)
        text = table(trials, len(jobs))
        print(text)
        if options.output:
            options.output.write_text(f"Made by `{' '.join(['python', *sys.argv])}`.\n\n{text}\n")


if __name__ == "__main__":
    main()
