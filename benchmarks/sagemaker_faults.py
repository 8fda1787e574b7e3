"""Injects each SageMaker fault at random moments, many times, and counts jobs, complete results and orphans.

    python benchmarks/sagemaker_faults.py [--trials 20] [--seed 1] [--only killed ...]

Each trial has its own home. A fault hits the local runner or the orchestrator (a real process, forked from this one) at
a moment drawn from the trial's seed. Then the work is rerun until a run succeeds, as an operator or a Dagster retry
would do. Trials alternate between the kinds of jobs. At the end they count:

- jobs needed: 1, plus 1 for each job that the fault itself destroyed (Failed or Stopped); as many must be started;
- results complete: the run succeeded, the objects exist with the expected content, and the metadata that the job
  reported through Pipes are in the materialization, even if another process started the job;
- orphans: unfinished jobs and living processes of the trial's home.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import reduce
from itertools import repeat
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dagster_sagemaker import sweep
from dagster_sagemaker.job_kinds import KINDS, TERMINAL_STATUSES
from dagster_sagemaker.testing import CallFault, JobFault
from sagemaker_lab import WORK_SECONDS, Lab

KIND_NAMES = tuple(KINDS)
MAX_RUNS = 4

Orchestrate = Callable[[Lab, str, random.Random], None]
"""The part of a trial with the fault, before the work is rerun until it succeeds."""


def start(lab: Lab, kind: str) -> BaseProcess:
    """Start an orchestrator in its own process."""
    process = multiprocessing.get_context("fork").Process(target=_quietly, args=(lab, kind))
    process.start()
    return process


def _quietly(lab: Lab, kind: str) -> None:
    with (lab.root / "orchestrator.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lab.run(kind)


def inject(make: Callable[[random.Random], list[CallFault | JobFault]]) -> Orchestrate:
    """Return the part of a trial that injects faults into the local runner."""

    def orchestrate(lab: Lab, _: str, draw: random.Random) -> None:
        lab.faults.inject(*make(draw))

    return orchestrate


def signalled(number: signal.Signals, *, then_sweep: bool = False) -> Orchestrate:
    """Return the part of a trial that starts the work and signals its orchestrator at a random moment."""

    def orchestrate(lab: Lab, kind: str, draw: random.Random) -> None:
        process = start(lab, kind)
        time.sleep(draw.uniform(0.05, WORK_SECONDS + 1.0))
        if process.pid is not None and process.exitcode is None:
            os.kill(process.pid, number)
        process.join(60)
        if then_sweep:
            sweep(lab.client, lambda _: True)
            wait_for_the_end(lab)

    return orchestrate


def stopped_by_a_stranger(lab: Lab, kind: str, draw: random.Random) -> None:
    """Start the work and stop its job, as a person in the AWS console would."""
    stops: dict[str, Callable[..., object]] = {
        "processing": lab.client.stop_processing_job,
        "training": lab.client.stop_training_job,
        "transform": lab.client.stop_transform_job,
    }
    process = start(lab, kind)
    while not lab.jobs():
        time.sleep(0.02)
    time.sleep(draw.uniform(0, WORK_SECONDS))
    ((_, name, status),) = lab.jobs()
    if status == "InProgress":
        try:
            stops[kind](**{KINDS[kind].job_name: name})
        except lab.client.exceptions.ClientError as error:
            if "is in status" not in str(error):  # the job ended between the two calls
                raise
    process.join(60)


def two_at_once(lab: Lab, kind: str, draw: random.Random) -> None:
    """Start the work twice, at about the same time."""
    first = start(lab, kind)
    time.sleep(draw.uniform(0, 0.5))
    second = start(lab, kind)
    first.join(60)
    second.join(60)


def job_fault(event: Any, **members: Any) -> Orchestrate:
    """Return the part of a trial with one fault of the first job, at a random moment."""
    return inject(lambda draw: [JobFault(event, after=draw.uniform(0, WORK_SECONDS), **members)])


def call_fault(event: Any, operation: str = "*") -> Orchestrate:
    """Return the part of a trial with up to six random failures of calls to an operation."""

    def make(draw: random.Random) -> list[CallFault | JobFault]:
        seed, times = draw.randrange(10**6), draw.randint(1, 6)
        return [CallFault(event, operation=operation, times=times, probability=draw.uniform(0.2, 1.0), seed=seed)]

    return inject(make)


FAULTS: dict[str, Orchestrate] = {
    "orchestrator killed (SIGKILL), run again": signalled(signal.SIGKILL),
    "orchestrator killed, its jobs swept, run again": signalled(signal.SIGKILL, then_sweep=True),
    "run cancelled (SIGINT), run again": signalled(signal.SIGINT),
    "run terminated (SIGTERM), run again": signalled(signal.SIGTERM),
    "two orchestrators at once": two_at_once,
    "job stopped by somebody": stopped_by_a_stranger,
    "throttling of any call": call_fault("throttling"),
    "throttling of the creation": call_fault("throttling", "Create*"),
    "service unavailable (503)": call_fault("unavailable"),
    "request lost": call_fault("lost-request"),
    "answer lost": call_fault("lost-response"),
    "answer of the creation lost": call_fault("lost-response", "Create*"),
    "no capacity": job_fault("capacity"),
    "slow start": job_fault("slow-start", seconds=1.0),
    "spot interruption (training)": job_fault("interruption", seconds=0.2),
    "container crash": job_fault("crash"),
    "out of memory": job_fault("out-of-memory"),
    "internal error of the service": job_fault("internal-error"),
    "machine of the job lost": job_fault("supervisor-death"),
}


@dataclass
class Tally:
    """The counts over some trials of a fault."""

    trials: int
    runs: int
    started: int
    needed: int
    complete: int
    orphans: int
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was paid for twice, lost or left behind."""
        return self.started == self.needed and self.complete == self.trials and self.orphans == 0

    def plus(self, other: "Tally") -> "Tally":
        """Return the sum of both."""
        return Tally(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def row(self, name: str) -> str:
        """Return the table row."""
        complete = f"{self.complete}/{self.trials}"
        cells = (name, self.trials, self.runs, self.started, self.needed, complete, self.orphans)
        return "| " + " | ".join(str(cell) for cell in cells) + " |"


def wait_for_the_end(lab: Lab, seconds: float = 20.0) -> None:
    """Wait until no job is running, or until the time is up."""
    give_up = time.monotonic() + seconds
    while any(status not in TERMINAL_STATUSES for _, _, status in lab.jobs()) and time.monotonic() < give_up:
        time.sleep(0.05)


def trial(name: str, number: int, seed: int) -> Tally:
    """Inject one fault in its own home, run the work until it succeeds, and count."""
    draw = random.Random(f"{seed}:{name}:{number}")  # noqa: S311  # not for cryptography
    kind = "training" if "training" in name else KIND_NAMES[number % len(KIND_NAMES)]
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        lab = Lab(root)
        FAULTS[name](lab, kind, draw)
        runs = 0
        while runs < MAX_RUNS and not (runs and lab.is_complete(kind)):
            (root / "result.json").unlink(missing_ok=True)
            start(lab, kind).join(120)
            runs += 1
        tally = count(lab, kind, runs)
        if not tally.is_good:
            log = (root / "orchestrator.log").read_text()[-3000:]
            tally.notes.append(f"{name}, trial {number} ({kind}): {lab.jobs()}\n{log}")
        return tally
    finally:
        shutil.rmtree(root, ignore_errors=True)


def count(lab: Lab, kind: str, runs: int) -> Tally:
    """Return the counts once the work is done; processes get three seconds to exit."""
    give_up = time.monotonic() + 3.0
    while (alive := lab.processes()) and time.monotonic() < give_up:
        time.sleep(0.05)
    statuses = [status for _, _, status in lab.jobs()]
    running = sum(status not in TERMINAL_STATUSES for status in statuses)
    # A fault can destroy one job; all further jobs were unnecessary.
    destroyed = min(1, sum(status in ("Failed", "Stopped") for status in statuses))
    return Tally(1, runs, len(statuses), 1 + destroyed, int(lab.is_complete(kind)), running + len(alive))


def main() -> None:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="trials per fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4, help="trials in parallel; they mostly wait")
    parser.add_argument("--only", nargs="*", default=[], help="run only faults whose names contain one of these")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [name for name in FAULTS if not arguments.only or any(part in name for part in arguments.only)]
    print("| fault | trials | runs | jobs started | jobs needed | results complete | orphans |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    bad: list[str] = []
    # Forked, because Dagster is already imported here, so orchestrators start at once.
    with ProcessPoolExecutor(arguments.parallel, multiprocessing.get_context("fork")) as pool:
        for name in names:
            tallies = pool.map(trial, repeat(name), range(arguments.trials), repeat(arguments.seed))
            total = reduce(Tally.plus, tallies)
            print(total.row(name), flush=True)
            bad += total.notes
    for note in bad:
        print(note, file=sys.stderr)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
