"""A job on disk: its request, its state, its logs and its `/opt/ml`; shared by the API and the supervisor.

A job's folder has

    request.json      the request of its creation
    runner.json       the settings of the runner that created it, its model, its faults
    state.json        status and results; written atomically, changed under a lock
    supervisor.lock   locked while the supervisor, or the keeper of its processes, lives
    stop              present once somebody asked the job to stop
    supervisor.log    the supervisor's own output; normally empty
    logs/<stream>     the container's lines, one JSON object each
    ml/<host>/        an instance's /opt/ml; removed once the job has completed
    scratch/          temporary files; removed once the job has ended

Standard library only, because the supervisor must start quickly.
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
    """The content of state.json; times are seconds since the epoch, `instance_seconds` the billed seconds."""

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
        """The job's kind, from the name of its parent folder."""
        return KINDS[self.path.parent.name]

    def arn(self, region: str) -> str:
        """Return the job's ARN, in an account that does not exist."""
        return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{self.kind.name}-job/{self.name}"

    @property
    def ml(self) -> Path:
        """The folder with each instance's `/opt/ml`."""
        return self.path / "ml"

    @property
    def logs(self) -> Path:
        """The folder of the log streams."""
        return self.path / "logs"

    def read_request(self) -> dict[str, Any]:
        """Return the request that created the job."""
        return read_json(self.path / "request.json")

    def read_runner(self) -> dict[str, Any]:
        """Return the settings of the runner that created the job, its model and its faults."""
        return read_json(self.path / "runner.json")

    def read_state(self) -> JobState:
        """Return the state as last written; unlike `refresh_state`, this does not notice a dead supervisor."""
        state: JobState = read_json(self.path / "state.json")  # type: ignore[assignment]  # written by this module alone
        # Jobs of an earlier version, which may still be adopted, have none.
        state.setdefault("transitions", [{"stage": state["status"], "started": state["created"]}])
        return state

    def refresh_state(self) -> JobState:
        """Return the state; if the supervisor died, first mark the job as failed and kill its processes."""
        state = self.read_state()
        if state["status"] in TERMINAL_STATUSES or is_locked(self.path / "supervisor.lock"):
            return state
        # The keeper has done this already, unless it was killed too.
        kill_processes(self.ml)
        with self.change_state() as state:
            # Checked again under the lock: the supervisor may have finished in between.
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
        """Give the state to be changed in place; it is written when the block ends, with other writers locked out."""
        with locked(self.path / "state.lock"):
            state = self.read_state()
            yield state
            state["modified"] = time.time()
            write_json(self.path / "state.json", state)

    def request_stop(self) -> None:
        """Ask the supervisor to stop the job; asking again changes nothing."""
        (self.path / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the job to stop."""
        return (self.path / "stop").exists()

    def _last_words(self) -> str:
        log = self.path / "supervisor.log"
        return log.read_text(encoding="utf-8", errors="replace").strip()[-500:] if log.exists() else ""


def enter_stage(state: JobState, stage: str) -> None:
    """Begin a stage and end the one before; a stopping job enters no stage but its last."""
    transitions = state.setdefault("transitions", [])
    if state["status"] == "Stopping" and transitions[-1]["stage"] == "Stopping":
        return
    now = time.time()
    if transitions:
        transitions[-1]["ended"] = now
    transitions.append({"stage": stage, "started": now})
    if state["status"] in TERMINAL_STATUSES:
        transitions[-1]["ended"] = now
