"""The sensor that asks again for weeks whose run was lost and which Dagster does not make again.

Dagster makes the rest of a lost run by itself (`run_retries` in dagster.yaml), but not a third time, and not where its
daemon cannot load the code in the moment in which it wants to, as on a full disk: then it gives the run up for good.
By the time this sensor is evaluated, the code is loaded again.

Not here: runs in which a step failed; what would fail again is for people (`incidents`).
"""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from m5_assets.automation.jobs import accuracy, weekly_forecast
from m5_assets.dagster_internals import PARTITION_NAME_TAG, WILL_RETRY_TAG

TIMES_TAG = "m5/lost_runs"
"""How often a week has been asked for again since somebody asked for it."""
PATIENCE = (dt.timedelta(0), dt.timedelta(minutes=10), dt.timedelta(hours=1))
"""How long after a lost run's end its week is asked for again: for the first, the second and the third time."""
_LOOKED_BACK = dt.timedelta(days=1)
_OF_DAGSTER = ("dagster/", ".dagster/")


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    jobs=[weekly_forecast, accuracy],
    description="Asks again for a week whose run was lost (killed, out of memory, a full disk) and which Dagster does "
    "not make again: at once, after ten minutes, after an hour.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Look once."""
    now = dt.datetime.now(dt.UTC)
    requests = [again for job in (weekly_forecast, accuracy) for again in requests_of(context.instance, job.name, now)]
    return dg.SensorResult(requests or None, skip_reason=None if requests else "no lost run is left undone")


def requests_of(instance: dg.DagsterInstance, job: str, now: dt.datetime) -> Iterator[dg.RunRequest]:
    """Yield a request for each week whose last run of the job was lost, when it is time.

    Args:
        instance: the Dagster instance.
        job: the name of a job whose runs are of one week each.
        now: an aware time.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=job, created_after=now - _LOOKED_BACK))
    last: dict[str, dg.RunRecord] = {}
    for record in records:  # the latest first
        if week := record.dagster_run.tags.get(PARTITION_NAME_TAG):
            last.setdefault(week, record)
    for week, record in last.items():
        run, times = record.dagster_run, int(record.dagster_run.tags.get(TIMES_TAG, "0"))
        if not _is_given_up(instance, run) or times >= len(PATIENCE):
            continue
        ended = dt.datetime.fromtimestamp(record.end_time or now.timestamp(), dt.UTC)
        if ended + PATIENCE[times] > now:
            continue
        kept = {key: value for key, value in run.tags.items() if not key.startswith(_OF_DAGSTER)}
        yield dg.RunRequest(
            run_key=f"lost run {run.run_id}",
            job_name=job,
            partition_key=week,
            tags={**kept, TIMES_TAG: str(times + 1)},
            asset_selection=sorted(run.asset_selection) if run.asset_selection else None,
        )


def _is_given_up(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run was lost, by no step's fault, and Dagster will not make it again.

    Runs that the command line executes itself are left to whoever called it: no code location has asked for them.
    """
    if run.status != dg.DagsterRunStatus.FAILURE or run.tags.get(WILL_RETRY_TAG) != "false":
        return False
    return run.remote_job_origin is not None and instance.get_run_stats(run.run_id).steps_failed == 0
