"""A job on disk: its request, its state, its logs and its `/opt/ml`; shared by the API and the supervisor.

A job's folder holds

    request.json      the request of its creation
    runner.json       what the runner that created it was told: S3, images, grace, faults
    state.json        status and results; written atomically, changed under a lock
    supervisor.lock   locked for as long as the supervisor, or the keeper of its processes, lives
    stop              present once somebody asked the job to stop
    supervisor.log    what the supervisor itself had to say; normally empty
    logs/<stream>     the lines of the container, one JSON object each
    ml/<host>/        stand for the instances' /opt/ml; removed when the job completed
    scratch/          what belongs to no container; removed when the job ended

Standard library only: the supervisor must start quickly. Not here: what a job does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from dagster_sagemaker.job_kinds import KINDS, TERMINAL_STATUSES, JobKind
from dagster_sagemaker.local.job_processes import kill_processes
from dagster_sagemaker.local.shared_files import is_locked, locked, read_json, write_json

ACCOUNT = "000000000000"


class Transition(TypedDict, total=False):
    """One stage of a job (a Training job's SecondaryStatus); times are seconds since the epoch."""

    stage: str
    started: float
    ended: float


class JobState(TypedDict, total=False):
    """What state.json holds; times are seconds since the epoch, `instance_seconds` those on instances."""

    status: str
    transitions: list[Transition]
    instance_seconds: float
    created: float
    started: float
    ended: float
    modified: float
    failure_reason: str
    exit_message: str
    model_artifact: str
    tags: list[dict[str, str]]


class JobDirectory:
    """One job's folder, `<home>/jobs/<kind>/<job name>`."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def name(self) -> str:
        """The job's name."""
        return self.path.name

    @property
    def kind(self) -> JobKind:
        """The job's kind, by the folder it lies in."""
        return KINDS[self.path.parent.name]

    def arn(self, region: str) -> str:
        """The job's ARN, in an account that does not exist."""
        return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{self.kind.name}-job/{self.name}"

    @property
    def ml(self) -> Path:
        """The folder of the instances' stand-ins for `/opt/ml`."""
        return self.path / "ml"

    @property
    def logs(self) -> Path:
        """The folder of the log streams."""
        return self.path / "logs"

    def read_request(self) -> dict[str, Any]:
        """The request that created the job."""
        return read_json(self.path / "request.json")

    def read_runner(self) -> dict[str, Any]:
        """What the runner that created the job was told."""
        return read_json(self.path / "runner.json")

    def read_state(self) -> JobState:
        """The state as last written; a dead supervisor is not noticed (see `refresh_state`)."""
        state: JobState = read_json(self.path / "state.json")  # type: ignore[assignment]  # written by this module alone
        # Jobs of an earlier version, which may still be adopted, have none.
        state.setdefault("transitions", [{"stage": state["status"], "started": state["created"]}])
        return state

    def refresh_state(self) -> JobState:
        """The state, after a job whose supervisor died was marked as failed and its processes were killed."""
        state = self.read_state()
        if state["status"] in TERMINAL_STATUSES or is_locked(self.path / "supervisor.lock"):
            return state
        # Its keeper has done so, unless it was killed too.
        kill_processes(self.ml)
        with self.change_state() as state:
            # Asked again under the lock: the supervisor may have finished between the two looks.
            if state["status"] not in TERMINAL_STATUSES:
                reason = (
                    "InternalServerError: the job's supervisor process died: it was killed, or the machine restarted"
                )
                state["status"] = "Failed"
                enter_stage(state, "Failed")
                state["ended"] = time.time()
                state["failure_reason"] = f"{reason}. {self._last_words()}".strip()
        return state

    @contextmanager
    def change_state(self) -> Iterator[JobState]:
        """The state, to be changed in place; written when the block ends, with other writers locked out."""
        with locked(self.path / "state.lock"):
            state = self.read_state()
            yield state
            state["modified"] = time.time()
            write_json(self.path / "state.json", state)

    def request_stop(self) -> None:
        """Ask the supervisor to stop the job; asking twice is asking once."""
        (self.path / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the job to stop."""
        return (self.path / "stop").exists()

    def _last_words(self) -> str:
        log = self.path / "supervisor.log"
        return log.read_text(encoding="utf-8", errors="replace").strip()[-500:] if log.exists() else ""


def enter_stage(state: JobState, stage: str) -> None:
    """Begin a stage, which ends the one before; once a job is stopping, only its end follows."""
    transitions = state.setdefault("transitions", [])
    if state["status"] == "Stopping" and transitions[-1]["stage"] == "Stopping":
        return
    now = time.time()
    if transitions:
        transitions[-1]["ended"] = now
    transitions.append({"stage": stage, "started": now})
    if state["status"] in TERMINAL_STATUSES:
        transitions[-1]["ended"] = now
