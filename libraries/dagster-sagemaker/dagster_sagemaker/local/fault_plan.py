"""The faults that a home's runner has to play, in `<home>/faults.json`.

Tests write that file through `dagster_sagemaker.testing`; without it this module does nothing. Calls fail in
`transport`, jobs in `cluster`.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from dagster_sagemaker.local.shared_files import locked, write_json

CallEvent = Literal["throttling", "unavailable", "lost-request", "lost-response"]
JobEvent = Literal[
    "capacity", "slow-start", "interruption", "crash", "out-of-memory", "internal-error", "supervisor-death"
]


class FaultPlan:
    """The list of faults of one home, shared by any number of processes.

    Args:
        home: the home of the `LocalSageMaker`.
    """

    def __init__(self, home: Path):
        self._path = home / "faults.json"

    @property
    def exists(self) -> bool:
        """Whether faults were ever injected into this home."""
        return self._path.exists()

    def take_call(self, operation: str) -> CallEvent | None:
        """Return how a call has to fail now, and use that fault up; None if it does not fail."""
        if not self.exists:
            return None
        with self.changing() as plan:
            for entry in plan["call"]:
                if fnmatchcase(operation, entry["operation"]) and entry["times"] != 0:
                    entry["drawn"] += 1
                    # Not for cryptography. A new generator per draw, because the file stores no generator's state.
                    drawn = random.Random(f"{entry['seed']}:{entry['drawn']}").random()  # noqa: S311
                    if drawn < entry["probability"]:
                        event: CallEvent = entry["event"]
                        _use_up(plan, entry, operation)
                        return event
        return None

    def take_job(self, kind: str, name: str, *, spot: bool) -> list[dict[str, Any]]:
        """Return the faults of a job that is being created, as `{event, after, seconds}`, and use them up."""
        if not self.exists:
            return []
        taken = []
        with self.changing() as plan:
            for entry in plan["job"]:
                matches = fnmatchcase(kind, entry["kind"]) and fnmatchcase(name, entry["job"])
                if matches and entry["times"] != 0 and (spot or entry["event"] != "interruption"):
                    _use_up(plan, entry, f"{kind}/{name}")
                    taken.append({member: entry[member] for member in ("event", "after", "seconds")})
        return taken

    @contextmanager
    def changing(self) -> Iterator[dict[str, list[dict[str, Any]]]]:
        """Give the plan to be changed in place; it is written when the block ends, with other writers locked out."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path.with_suffix(".lock")):
            plan = self.read()
            yield plan
            write_json(self._path, plan)

    def read(self) -> dict[str, list[dict[str, Any]]]:
        """Return the plan: faults of calls, faults of jobs, and the record of those that fired."""
        if not self.exists:
            return {"call": [], "job": [], "fired": []}
        plan: dict[str, list[dict[str, Any]]] = json.loads(self._path.read_text(encoding="utf-8"))
        return plan


def _use_up(plan: dict[str, list[dict[str, Any]]], entry: dict[str, Any], target: str) -> None:
    if entry["times"] is not None:
        entry["times"] -= 1
    plan["fired"].append({"event": entry["event"], "target": target, "at": time.time()})
