"""What counts as an incident: each function looks at the current records and yields the incidents it finds.

The functions keep no state: an incident is over when its function no longer yields it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import dagster as dg

from m5_assets import asset_groups
from m5_assets.alerts import Incident
from m5_assets.checks.landing import landed_is_fresh
from m5_assets.checks.models import age
from m5_assets.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
    AssetCheckExecutionRecord,
    InstigatorTick,
    InstigatorType,
    PartitionKeyFilter,
    ScheduleInstigatorData,
    reverse_cron_string_iterator,
)
from m5_assets.dagster_internals import AssetCheckExecutionRecordStatus as CheckStatus
from m5_assets.model_specs import MODELS
from m5_assets.partitions import WEEKS, weekly_partitions
from m5_assets.resources.known_days import look
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import BadInput
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.settings import Settings
from m5_assets.weeks import Week, frozen_week, last_full_week

_RUNS_LOOKED_AT = 500
_FAILURES_LOOKED_AT = 30
_SCHEDULE_GRACE = dt.timedelta(hours=1)
_SHOWN = "the dashboards keep the forecast they show"
_EVALUATED = {CheckStatus.FAILED, CheckStatus.SUCCEEDED}  # a check that is running again has not passed yet
_CHECK_FAILED = "DagsterAssetCheckFailedError"


def failed_runs(instance: dg.DagsterInstance, ui: str) -> Iterator[Incident]:
    """Yield each failed run whose work no later run of the same job has completed.

    Left out: runs that Dagster will retry, and runs in which only a blocking check failed, which `failed_checks`
    reports with its finding. The runs of one backfill are one incident.
    """
    ended = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]), limit=_RUNS_LOOKED_AT
    )
    last: dict[tuple[str, ...], dg.DagsterRun] = {}
    for record in ended:  # the latest first
        last.setdefault(_same_work(record.dagster_run), record.dagster_run)
    newest = list(last.values())
    failed = [
        run
        for place, run in enumerate(newest)
        if run.status == dg.DagsterRunStatus.FAILURE
        and not any(other.is_success and _covers(other, run) for other in newest[:place])
    ]
    reported = set()
    for run in islice((run for run in failed if run.tags.get(WILL_RETRY_TAG) != "true"), _FAILURES_LOOKED_AT):
        failures = _step_failures(instance, run.run_id)
        if failures and all(kind == _CHECK_FAILED for _, kind, _ in failures):
            continue
        key = f"backfill:{run.tags[BACKFILL_ID_TAG]}" if BACKFILL_ID_TAG in run.tags else ":".join(_same_work(run))
        if key not in reported:
            reported.add(key)
            yield _failed_run(run, key, failures, ui)


def _same_work(run: dg.DagsterRun) -> tuple[str, ...]:
    chosen = sorted(key.to_user_string() for key in run.asset_selection or ())
    return ("run", run.job_name, _week(run.tags) or "", *chosen)


def _covers(run: dg.DagsterRun, other: dg.DagsterRun) -> bool:
    """Return whether a run covers all weeks and assets of another run of the same job."""
    if run.job_name != other.job_name or (run.asset_selection and not other.asset_selection):
        return False
    if run.asset_selection and not set(other.asset_selection or ()) <= set(run.asset_selection):
        return False
    (first, last), (other_first, other_last) = _span(run.tags), _span(other.tags)
    return first <= other_first and other_last <= last


def _span(tags: Mapping[str, str]) -> tuple[str, str]:
    week = tags.get(PARTITION_NAME_TAG, "")
    return tags.get(ASSET_PARTITION_RANGE_START_TAG, week), tags.get(ASSET_PARTITION_RANGE_END_TAG, week)


def _week(tags: Mapping[str, str]) -> str | None:
    if PARTITION_NAME_TAG in tags:
        return tags[PARTITION_NAME_TAG]
    if ASSET_PARTITION_RANGE_START_TAG in tags:
        return f"{tags[ASSET_PARTITION_RANGE_START_TAG]} to {tags[ASSET_PARTITION_RANGE_END_TAG]}"
    return None


def _step_failures(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str, str, str]]:
    """Return step, error class and reason of each failed step; empty if the run's own process was lost."""
    found = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        said = data.user_failure_data.description if data.user_failure_data else None
        found.append(
            (
                entry.step_key or "",
                error.cls_name or "" if error else "",
                said or (error.message.strip() if error else "no reason recorded"),
            )
        )
    return found


def _failed_run(run: dg.DagsterRun, key: str, failures: Sequence[tuple[str, str, str]], ui: str) -> Incident:
    week = _week(run.tags)
    steps = "; ".join(f"{step}: {reason}" for step, _, reason in failures[:3])
    begin = "fix the cause and" if failures else "a week is retried automatically, up to three times in an hour; else"
    return Incident(
        key=key,
        title=f"{run.job_name} failed" + (f", week {week}" if week else ""),
        what=steps or "the run's process was lost (killed, out of memory, or the machine restarted)",
        effect=f"what the run should have built is missing; {_SHOWN}",
        remedy=f"{begin} press Re-execute (from failure) on the run's page; finished jobs are reused",
        link=f"{ui}/runs/{run.run_id}",
        week=week,
    )


def failed_checks(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, ui: str) -> Iterator[Incident]:
    """Yield each check and week whose latest evaluation failed."""
    storage, graph = instance.event_log_storage, repository.asset_graph
    for key in sorted(graph.asset_check_keys, key=str):
        weekly = graph.get(key).partitions_def is not None
        recent = storage.get_asset_check_execution_history(key, limit=_FAILURES_LOOKED_AT, status={CheckStatus.FAILED})
        weeks = dict.fromkeys(record.partition for record in recent)
        for week in weeks:
            if weekly and week is None:  # the summary of a range; each of its weeks has its own result
                continue
            latest = storage.get_asset_check_execution_history(
                key, limit=1, status=_EVALUATED, partition_filter=PartitionKeyFilter(key=week)
            )[0]
            if latest.status == CheckStatus.FAILED:
                yield _failed_check(key, week, latest, graph.get(key.asset_key).group_name or "", ui)


_REMEDIES = {
    asset_groups.LANDING: "correct the landed file and land it again; the landing sensor or `m5 forecast` loads it "
    "again. If the figure is true, widen the limit by the setting that the finding names",
    asset_groups.ACCURACY: "compare the models in the accuracy table; if it persists, "
    "shorten M5_CADENCE_WEEKS or retrain",
    asset_groups.RDS: "materialize the rds asset's week again: a load replaces the week in one transaction",
}
_REMATERIALIZE = (
    "look at the finding; if the input is right, materialize the asset's week again; see docs/operations.md"
)


def _failed_check(
    key: dg.AssetCheckKey, week: str | None, record: AssetCheckExecutionRecord, group: str, ui: str
) -> Incident:
    evaluation = record.event.get_dagster_event().asset_check_evaluation_data if record.event else None
    blocks = evaluation is not None and evaluation.blocking and evaluation.severity == dg.AssetCheckSeverity.ERROR
    asset = key.asset_key.to_user_string()
    return Incident(
        key=f"check:{asset}:{key.name}:{week or ''}",
        title=f"{asset}: check {key.name} failed" + (f", week {week}" if week else ""),
        what=(evaluation.description if evaluation else None) or "the check failed without a finding",
        effect=f"nothing is built from this week; {_SHOWN}" if blocks else "a warning: the week continues",
        remedy=_REMEDIES.get(group, _REMATERIALIZE),
        link=f"{ui}/assets/{asset}?view=checks&checkDetail={key.name}",
        week=week,
    )


def missed_schedules(
    instance: dg.DagsterInstance, crons: Mapping[str, tuple[str, str]], now: dt.datetime, ui: str
) -> Iterator[Incident]:
    """Yield each running schedule whose last due evaluation is missing or failed.

    Args:
        instance: the Dagster instance.
        crons: cron expression and time zone by schedule name.
        now: an aware time; an evaluation may be an hour late.
        ui: the UI's address.
    """
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        if not state.is_running or state.instigator_name not in crons:
            continue
        cron, zone = crons[state.instigator_name]
        due = next(reverse_cron_string_iterator((now - _SCHEDULE_GRACE).timestamp(), cron, zone))
        data = state.instigator_data
        started = data.start_timestamp if isinstance(data, ScheduleInstigatorData) else None
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        reason = _missed(ticks[0] if ticks else None, due)
        if reason is None or due.timestamp() < (started or 0.0):
            continue
        yield Incident(
            key=f"schedule:{state.instigator_name}",
            title=f"schedule {state.instigator_name} missed {due:%Y-%m-%d %H:%M} {zone}",
            what=f"due at {due:%Y-%m-%d %H:%M} {zone}, {reason}",
            effect=f"no week was requested; {_SHOWN}",
            remedy="run `m5 doctor`: is the daemon running, does the code load? The next evaluation catches up",
            link=f"{ui}/automation",
        )


def _missed(tick: InstigatorTick | None, due: dt.datetime) -> str | None:
    if tick is None or tick.timestamp < due.timestamp():
        return "it was not evaluated"
    if tick.is_failure:
        return f"its evaluation failed: {tick.error.message.strip() if tick.error else 'no reason recorded'}"
    return None


def stale_data(landing: LandingFolder, now: dt.datetime, source: Settings, ui: str) -> Iterator[Incident]:
    """Yield an incident if the landed sales do not reach the last full week or cannot be read."""
    try:
        found = landed_is_fresh(landing.open().days()[1], now, source)
        problem = None if found.passed else found.text
    except (BadInput, OSError) as refusal:
        problem = str(refusal)
    if problem:
        yield Incident(
            key="stale",
            title="the landed sales are stale" if "weeks are missing" in problem else "the landed sales cannot be read",
            what=problem,
            effect=f"the new week cannot be forecast; {_SHOWN}",
            remedy=f"ask whoever sends the extract for a good file in {source.landing}; the sensor does the rest",
            link=f"{ui}/assets/raw_sales",
        )


def old_models(lake: Lake, now: dt.datetime, source: Settings, ui: str) -> Iterator[Incident]:
    """Yield each model that was trained too long before the week that is due."""
    for dataset in (model.model for model in MODELS):
        weeks = lake.partitions(dataset)
        if not weeks:
            continue
        last = Week.parse(weeks[-1])
        loaded = Week.parse(max([*lake.partitions("raw_sales"), last.key]))
        due = last if frozen_week(loaded.origin, now, source) else max(last, last_full_week(now, source))
        trained = Week.parse(lake.get(dataset, last.key).attributes["trained_week"])
        found = age(due, trained, source.checks.limit("model_age_weeks"))
        if not found.passed:
            yield Incident(
                key=f"model:{dataset}",
                title=f"{dataset} is too old, trained in week {trained}",
                what=found.text,
                effect="forecasts continue, but the model was not trained on the latest sales",
                remedy="weekly runs retrain it every M5_CADENCE_WEEKS weeks: find out why none has succeeded",
                link=f"{ui}/assets/{dataset}",
                week=due.key,
            )


def weeks_not_offered(
    lake: Lake, landing: LandingFolder, now: dt.datetime, source: Settings, ui: str
) -> Iterator[Incident]:
    """Yield an incident if weeks have landed that are no partitions of the code as this process has loaded it."""
    known = look(landing.root, lake.root)
    if known is None:
        return
    offered, landed = WEEKS.get_partition_keys(now), weekly_partitions(source, known, now).get_partition_keys(now)
    if landed and not {landed[0], landed[-1]} <= {*offered}:
        yield Incident(
            key="partitions",
            title=f"weeks {landed[0]} to {landed[-1]} are landed and not all offered",
            what=f"the code was loaded when the landed weeks were {offered[0]} to {offered[-1]}",
            effect="the other weeks cannot be started from the UI, by schedules or by sensors",
            remedy="reload the code location: Deployment, Reload",
            link=f"{ui}/locations",
        )


def late_forecast(
    lake: Lake, landing: LandingFolder, now: dt.datetime, source: Settings, ui: str
) -> Iterator[Incident]:
    """Yield the week that is due on live data if its sales have landed and it has no forecast."""
    due = last_full_week(now - dt.timedelta(hours=source.checks.landing_hours + source.schedule_hour), source)
    if due.key in lake.partitions("ensemble_forecast"):
        return
    try:
        landed = landing.open().days()[1]
    except (BadInput, OSError):  # `stale_data` reports it
        return
    if landed >= due.origin and not frozen_week(landed, now, source):
        yield Incident(
            key="late",
            title=f"week {due} is landed and not forecast",
            what=f"sales are landed through {landed}, and no forecast of week {due} is in the lake",
            effect=_SHOWN,
            remedy=f"check that the schedule `weekly` is on and its runs succeed, or run `m5 forecast --week {due}`",
            link=f"{ui}/assets/ensemble_forecast",
            week=due.key,
        )
