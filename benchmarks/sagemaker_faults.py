"""Each fault at random moments, many times: jobs started against jobs needed, results, orphans.

    python benchmarks/sagemaker_faults.py [--trials 20] [--seed 1] [--only killed ...]

A trial has a home of its own: a fault is injected into the local runner, or done to the orchestrator (a real process,
forked from this one), at a moment drawn from the trial's seed. Then the work is run again until a run succeeds, as an
operator or Dagster's retry would. Kinds of jobs take turns. Counted at the end:

- jobs needed: 1, and 1 for each job that the fault itself destroyed (Failed or Stopped); started must be equal;
- results complete: the run succeeded, the objects are there with the content expected, and what the job reported
  through Pipes is in the materialisation, though another process may have started it;
- orphans: jobs not at an end and processes of the trial's home still alive.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import textwrap
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

import dagster as dg
from botocore.config import Config

from m5_assets.sagemaker import (
    LocalPipesChannel,
    LocalSageMaker,
    PipesSageMakerClient,
    SageMakerTransformClient,
    sweep,
)
from m5_assets.sagemaker.kinds import KINDS, TERMINAL_STATUSES
from m5_assets.sagemaker.local.faults import CallFault, Faults, JobFault

ROLE = "arn:aws:iam::123456789012:role/jobs"
KIND_NAMES = tuple(KINDS)
WORK_SECONDS = 0.5
MAX_RUNS = 4
PROGRAM = """
import http.server, json, os, pathlib, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(".new").write_text(text)
    path.with_name(".new").rename(path)
def work(state):
    step = int(state.read_text()) if state.exists() else 0
    while step < 8:
        time.sleep(SECONDS / 8)
        step += 1
        write(state, str(step))
        yield step
def job():
    from dagster_pipes import open_dagster_pipes
    with open_dagster_pipes() as pipes:
        for step in work(base / "checkpoints/step"):
            pipes.log.info(f"step {step}")
        for place in ("processing/out", "model"):
            write(base / place / "rows.txt", "8")
        pipes.report_asset_materialization(metadata={"rows": 8})
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body=b""):
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200 if self.path == "/ping" else 404)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(SECONDS)
        self.answer(200, body.upper())
    def log_message(self, *_): pass
if sys.argv[1:] == ["serve"]:
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
else:
    job()
"""


class Lab:
    """A trial's home: a lake, a program, a local SageMaker."""

    def __init__(self, root: Path):
        self.root, self.lake = root, root / "lake"
        (self.lake / "in").mkdir(parents=True)
        (self.lake / "in/a.txt").write_text("a")
        (self.lake / "models").mkdir()
        with tarfile.open(self.lake / "models/model.tar.gz", "w:gz") as tar:
            tar.add(self.lake / "in/a.txt", "weights")
        self.program = root / "program.py"
        self.program.write_text(textwrap.dedent(PROGRAM).replace("SECONDS", str(WORK_SECONDS)))
        self.runner = LocalSageMaker(
            root / "home",
            buckets={"lake": self.lake},
            images={"image": [sys.executable, str(self.program)]},
            stop_grace=1.0,
        )
        once = Config(retries={"total_max_attempts": 1})
        self.client, self.logs = self.runner.client("sagemaker", once), self.runner.client("logs", once)
        self.faults = Faults(root / "home")

    def run(self, kind: str) -> None:
        """Materialise an asset that runs one job of the kind; what it showed goes to result.json. In a process."""

        @dg.asset(name="forecast")
        def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            options: dict[str, Any] = {"logs_client": self.logs, "poll_interval": 0.05, "patience": 60.0}
            if kind == "transform":
                scored = SageMakerTransformClient(self.client, **options).run(
                    context=context, create_model_params=MODEL, create_transform_job_params=TRANSFORM
                )
                return dg.MaterializeResult(metadata=scored.metadata)
            channel = LocalPipesChannel(self.root / "pipes")
            params: dict[str, Any] = {
                f"create_{kind}_job_params": {"processing": PROCESSING, "training": TRAINING}[kind]
            }
            done = PipesSageMakerClient(self.client, channel, **options).run(context=context, **params)
            return done.get_materialize_result()

        result = dg.materialize([asset], raise_on_error=False)
        events = result.get_asset_materialization_events()
        shown = [{name: value.value for name, value in e.materialization.metadata.items()} for e in events]
        content = json.dumps({"success": result.success, "materializations": shown}, default=str)
        (self.root / "result.new").write_text(content)
        (self.root / "result.new").rename(self.root / "result.json")

    def jobs(self) -> list[tuple[str, str, str]]:
        """Kind, name and status of all jobs that were ever created."""
        found = []
        for kind in KINDS.values():
            page = getattr(self.client, f"list_{kind.name}_jobs")(MaxResults=100)
            for summary in page[f"{kind.title}JobSummaries"]:
                found.append((kind.name, summary[kind.job_name], summary[kind.job_status]))
        return found

    def is_complete(self, kind: str) -> bool:
        """Whether the objects of the completed job are there, and what it reported is shown."""
        path = self.root / "result.json"
        result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"success": False}
        if not result["success"] or len(result["materializations"]) != 1:
            return False
        shown: dict[str, Any] = result["materializations"][0]
        name: str = shown["sagemaker/job_name"]
        told = bool(shown.get("rows") == 8)
        if kind == "processing":
            return told and (self.lake / "out" / name / "rows.txt").read_text() == "8"
        if kind == "transform":
            return (self.lake / "out" / name / "a.txt.out").read_text() == "A"
        with tarfile.open(self.lake / "models" / name / "output/model.tar.gz") as tar:
            content = tar.extractfile("rows.txt")
            return told and content is not None and int(content.read()) == 8

    def processes(self) -> list[int]:
        """Processes whose command line names this home."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.root).encode() in line:
                found.append(int(entry.name))
        return found


INSTANCE = {"InstanceCount": 1, "InstanceType": "ml.m5.large"}
SOURCE = {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/"}
PROCESSING: dict[str, Any] = {
    "RoleArn": ROLE,
    "AppSpecification": {"ImageUri": "image"},
    "ProcessingResources": {"ClusterConfig": {**INSTANCE, "VolumeSizeInGB": 1}},
    "ProcessingOutputConfig": {
        "Outputs": [
            {
                "OutputName": "out",
                "S3Output": {
                    "S3Uri": "s3://lake/out/{job_name}",
                    "LocalPath": "/opt/ml/processing/out",
                    "S3UploadMode": "EndOfJob",
                },
            }
        ]
    },
}
TRAINING: dict[str, Any] = {
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
    "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": SOURCE}}],
    "OutputDataConfig": {"S3OutputPath": "s3://lake/models"},
    "ResourceConfig": {**INSTANCE, "VolumeSizeInGB": 1},
    "EnableManagedSpotTraining": True,
    "CheckpointConfig": {"S3Uri": "s3://lake/checkpoints/work"},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
}
MODEL: dict[str, Any] = {
    "ExecutionRoleArn": ROLE,
    "PrimaryContainer": {"Image": "image", "ModelDataUrl": "s3://lake/models/model.tar.gz"},
}
TRANSFORM: dict[str, Any] = {
    "TransformInput": {"DataSource": {"S3DataSource": SOURCE}},
    "TransformOutput": {"S3OutputPath": "s3://lake/out/{job_name}"},
    "TransformResources": INSTANCE,
}

Orchestrate = Callable[[Lab, str, random.Random], None]
"""What a trial does before the work is run until it succeeds."""


def start(lab: Lab, kind: str) -> BaseProcess:
    """An orchestrator in a process of its own."""
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
    """Have the local runner commit faults."""

    def orchestrate(lab: Lab, _: str, draw: random.Random) -> None:
        lab.faults.inject(*make(draw))

    return orchestrate


def signalled(number: signal.Signals, *, then_sweep: bool = False) -> Orchestrate:
    """Start the work, signal its orchestrator at a random moment, and wait for its end."""

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
    """Stop the job as a person in AWS's console would."""
    process = start(lab, kind)
    while not lab.jobs():
        time.sleep(0.02)
    time.sleep(draw.uniform(0, WORK_SECONDS))
    ((_, name, status),) = lab.jobs()
    if status == "InProgress":
        try:
            getattr(lab.client, f"stop_{kind}_job")(**{KINDS[kind].job_name: name})
        except lab.client.exceptions.ClientError as error:
            if "is in status" not in str(error):  # it ended between the two calls
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
    """One misfortune of the first job, at a random moment."""
    return inject(lambda draw: [JobFault(event, after=draw.uniform(0, WORK_SECONDS), **members)])


def call_fault(event: Any, operation: str = "*") -> Orchestrate:
    """Up to six failures of the calls of an operation, at random."""

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
    """What was counted over some trials of a fault."""

    trials: int
    runs: int
    started: int
    needed: int
    complete: int
    orphans: int
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was paid twice, lost or left behind."""
        return self.started == self.needed and self.complete == self.trials and self.orphans == 0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def row(self, name: str) -> str:
        """The row of the table."""
        complete = f"{self.complete}/{self.trials}"
        cells = (name, self.trials, self.runs, self.started, self.needed, complete, self.orphans)
        return "| " + " | ".join(str(cell) for cell in cells) + " |"


def wait_for_the_end(lab: Lab, seconds: float = 20.0) -> None:
    """Wait until no job runs, or until the time is up."""
    give_up = time.monotonic() + seconds
    while any(status not in TERMINAL_STATUSES for _, _, status in lab.jobs()) and time.monotonic() < give_up:
        time.sleep(0.05)


def trial(name: str, number: int, seed: int) -> Tally:
    """Play one fault in a home of its own, run the work until it succeeds, and count."""
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
    """What there is once the work is done; processes have three seconds to go."""
    give_up = time.monotonic() + 3.0
    while (alive := lab.processes()) and time.monotonic() < give_up:
        time.sleep(0.05)
    statuses = [status for _, _, status in lab.jobs()]
    running = sum(status not in TERMINAL_STATUSES for status in statuses)
    # A fault can destroy one job; whatever else there is was started for nothing.
    destroyed = min(1, sum(status in ("Failed", "Stopped") for status in statuses))
    return Tally(1, runs, len(statuses), 1 + destroyed, int(lab.is_complete(kind)), running + len(alive))


def main() -> None:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="of each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=4, help="trials at once; most of their time is waiting")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of faults")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [name for name in FAULTS if not arguments.only or any(part in name for part in arguments.only)]
    print("| fault | trials | runs | jobs started | jobs needed | results complete | orphans |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    bad: list[str] = []
    # Forked, because dagster has been imported here: an orchestrator then starts in no time.
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
