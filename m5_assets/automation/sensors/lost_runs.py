"""The sensor that requests a week again if its run was lost and Dagster will not retry it.

Dagster retries a lost run itself (`run_retries` in dagster.yaml), but not a third time, and not if its daemon cannot
load the code at that moment, as on a full disk: then it gives up for good. This sensor is only evaluated when the code
loads again. Runs in which a step failed are left to people, because they would fail again.
"""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from m5_assets.automation.jobs import accuracy, weekly_forecast
from m5_assets.automation.run_launcher import is_of_command
from m5_assets.dagster_internals import PARTITION_NAME_TAG, WILL_RETRY_TAG

TIMES_TAG = "m5/lost_runs"
"""How often this sensor has requested the week since it was first requested."""
PATIENCE = (dt.timedelta(0), dt.timedelta(minutes=10), dt.timedelta(hours=1))
"""Waiting time after the end of a lost run before its week is requested for the first, second and third time."""
_LOOKED_BACK = dt.timedelta(days=1)
_OF_DAGSTER = ("dagster/", ".dagster/")


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    jobs=[weekly_forecast, accuracy],
    description="Requests a week again if its run was lost (killed, out of memory, full disk) and Dagster will not "
    "retry it: at once, after ten minutes, after an hour.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Request the lost weeks of both weekly jobs."""
    now = dt.datetime.now(dt.UTC)
    requests = [again for job in (weekly_forecast, accuracy) for again in requests_of(context.instance, job.name, now)]
    return dg.SensorResult(requests or None, skip_reason=None if requests else "no lost runs")


def requests_of(instance: dg.DagsterInstance, job: str, now: dt.datetime) -> Iterator[dg.RunRequest]:
    """Yield a request for each week whose last run of the job was lost and whose waiting time is over.

    Args:
        instance: the Dagster instance.
        job: the name of a job whose runs have one week each.
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
    """Return whether a run was lost without a failed step and Dagster will not retry it.

    Runs that the command line executes itself are left to its caller.
    """
    if run.status != dg.DagsterRunStatus.FAILURE or run.tags.get(WILL_RETRY_TAG) != "false":
        return False
    return not is_of_command(run) and instance.get_run_stats(run.run_id).steps_failed == 0
