"""What a run has done so far, from its event log: steps, rows, checks, the share done, the time left.

Not here: how it looks in a terminal (`m5_assets.cli.run_display`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

_WARNING = 30
"""The level from which a log message of a step is worth a line of its own."""
_PROGRESS = re.compile(r"^ *(?P<share>\d+)%  (?P<text>.*?)  \(")
"""The progress that a job reports (`m5_assets.containers.contract.Report.progress`)."""
_LONGEST = 240
"""Characters of a finding that are shown."""
_ENDS = (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SKIPPED)


@dataclass
class Step:
    """A step of the run.

    Attributes:
        key: its key in Dagster.
        began: when it began, in seconds since 1970; None while it waits.
        share: the share done, 0 to 1, as its job reports it.
        doing: what its job does.
        facts: what its asset is, in words: rows, trained or carried forward.
        checks: whether it runs checks; their findings say what there is to say.
    """

    key: str
    began: float | None = None
    share: float = 0.0
    doing: str = ""
    facts: str = ""
    checks: bool = False

    @property
    def name(self) -> str:
        """The name of the asset that it builds, or of its checks."""
        return self.key.replace("__", "/")


@dataclass(frozen=True)
class Line:
    """One thing that happened, worth a line.

    Attributes:
        kind: "done", "failed", "warning", "again" (the step is repeated) or "cancelled".
        name: the asset.
        text: what is to be said of it.
        seconds: how long it took; None where that says nothing.
    """

    kind: str
    name: str
    text: str = ""
    seconds: float | None = None


@dataclass
class RunProgress:
    """Folds a run's events, in their order.

    Attributes:
        waiting: keys of the steps that have not begun.
        usual: seconds that each step took in an earlier run of the job; empty if there is none.
        usual_run: seconds of that whole run.
        began: when the run began, in seconds since 1970.
    """

    waiting: list[str]
    usual: Mapping[str, float] = field(default_factory=dict)
    usual_run: float = 0.0
    began: float = 0.0
    running: dict[str, Step] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    rows: int = 0
    checks: int = 0
    warnings: int = 0
    errors: int = 0

    @property
    def steps(self) -> int:
        """The number of the run's steps."""
        return len(self.waiting) + len(self.running) + len(self.ended)

    def take(self, entries: Sequence[dg.EventLogEntry]) -> Iterator[Line]:
        """Take the next entries of the event log; yield what is worth a line."""
        for entry in entries:
            yield from self._take(entry)

    def _take(self, entry: dg.EventLogEntry) -> Iterator[Line]:
        event, key = entry.dagster_event, entry.step_key
        if event is None:
            if key in self.running:
                yield from self._told(self.running[key], entry)
        elif event.event_type == dg.DagsterEventType.RUN_START:
            self.began = entry.timestamp
        elif event.event_type == dg.DagsterEventType.RUN_CANCELED:
            yield Line("cancelled", "the run")
        elif key is not None:
            yield from self._step(Step(key), event, entry.timestamp)

    def _told(self, step: Step, entry: dg.EventLogEntry) -> Iterator[Line]:
        """Take a message that a step or its job logged."""
        if found := _PROGRESS.match(entry.user_message):
            step.share, step.doing = int(found["share"]) / 100, found["text"]
        elif int(entry.level) >= _WARNING:
            yield Line("warning", step.name, entry.user_message)

    def _step(self, step: Step, event: dg.DagsterEvent, now: float) -> Iterator[Line]:
        """Take an event of a step."""
        kind, key = event.event_type, step.key
        if kind in (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_RESTARTED):
            self._leave(key)
            self.running[key] = Step(key, began=now)
        elif kind == dg.DagsterEventType.ASSET_MATERIALIZATION and key in self.running:
            self._materialized(self.running[key], event)
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            if key in self.running:
                self.running[key].checks = True
            yield from self._checked(event.asset_check_evaluation_data)
        elif kind == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            self._leave(key)
            self.waiting.append(key)
            yield Line("again", step.name, _cause(event))
        elif kind in _ENDS:
            yield from self._ended(step, kind, now)

    def _ended(self, step: Step, kind: dg.DagsterEventType, now: float) -> Iterator[Line]:
        begun = self._leave(step.key)
        self.ended.append(step.key)
        seconds = now - begun.began if begun and begun.began else None
        if kind == dg.DagsterEventType.STEP_FAILURE:
            yield Line("failed", step.name, "", seconds)
        elif begun and not begun.checks:
            yield Line("done", step.name, begun.facts, seconds)

    def _leave(self, key: str) -> Step | None:
        if key in self.waiting:
            self.waiting.remove(key)
        return self.running.pop(key, None)

    def _materialized(self, step: Step, event: dg.DagsterEvent) -> None:
        metadata = event.step_materialization_data.materialization.metadata
        facts = []
        if (rows := metadata.get("dagster/row_count")) is not None and not step.facts:
            # A run over several weeks has one event per week, each with the rows of all.
            self.rows += int(str(rows.value))
            facts.append(f"{int(str(rows.value)):,} rows")
        if (trained := metadata.get("trained")) is not None:
            since = metadata.get("trained_week")
            why = metadata.get("why_trained")
            facts.append(f"trained: {why.value if why else ''}" if trained.value else f"of {since and since.value}")
        step.facts = step.facts or ", ".join(facts)

    def _checked(self, evaluation: dg.AssetCheckEvaluation) -> Iterator[Line]:
        self.checks += 1
        if evaluation.passed:
            return
        warns = evaluation.severity == dg.AssetCheckSeverity.WARN
        self.warnings, self.errors = self.warnings + warns, self.errors + (not warns)
        text = f"{evaluation.check_name}: {evaluation.description}"
        yield Line("warning" if warns else "failed", evaluation.asset_key.to_user_string(), _shortened(text))

    def share(self, now: float) -> float:
        """Return the share of the run that is done, 0 to 1; steps count as long as they usually take.

        Args:
            now: in seconds since 1970.
        """
        known = [seconds for seconds in self.usual.values() if seconds > 0]
        mean = sum(known) / len(known) if known else 1.0

        def effort(key: str) -> float:
            return self.usual.get(key, mean)

        done = sum(map(effort, self.ended))
        for step in self.running.values():
            passed = (now - step.began) / effort(step.key) if step.began else 0.0
            done += effort(step.key) * max(step.share, min(passed, 0.95))
        total = sum(map(effort, [*self.waiting, *self.running, *self.ended]))
        return done / total if total else 0.0

    def seconds_left(self, now: float) -> float | None:
        """Return an estimate of the seconds to the run's end; None without an earlier run to compare with.

        Args:
            now: in seconds since 1970.
        """
        if not self.usual or not self.began:
            return None
        share = self.share(now)
        # At its own pace once there is one: another machine, another load.
        pace = (now - self.began) / share if share > 0.1 else self.usual_run
        return pace * (1 - share)


def _shortened(finding: str) -> str:
    """Return a finding in one line: that of a range of weeks has one line per week. The UI and the log have all."""
    first, _, rest = finding.partition("\n")
    more = f"{first} {rest.partition(chr(10))[0].strip()} …" if rest else first
    return more if len(more) <= _LONGEST else f"{more[:_LONGEST]} …"


def _cause(event: dg.DagsterEvent) -> str:
    """Return why a step is tried again."""
    error = event.step_retry_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else ""


def usual_seconds(instance: dg.DagsterInstance, job: str) -> tuple[dict[str, float], float]:
    """Return the seconds of each step, and of the whole, in the last successful run of a job; empty without one."""
    runs = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=1)
    if not runs:
        return {}, 0.0
    stats = instance.get_run_step_stats(runs[0].dagster_run.run_id)
    steps = {each.step_key: each.end_time - each.start_time for each in stats if each.end_time and each.start_time}
    return steps, (runs[0].end_time or 0.0) - (runs[0].start_time or 0.0)
