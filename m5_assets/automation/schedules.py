"""The weekly schedules: by the clock on live data, one week per tick on frozen data.

Every evaluation requests all weeks that are due, not only its own tick's: after three weeks without a daemon the first
evaluation requests three weeks, in order, and the next one none. What these weeks need of the landed files and the lake
lacks, or holds otherwise, is requested before them.
"""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from m5_assets.automation.due_weeks import due_weeks, replay_week, unfinished_weeks, weeks_to_score
from m5_assets.automation.jobs import accuracy, housekeeping, weekly_forecast
from m5_assets.automation.landed_loads import Contents, Load, landed_contents, loads, under_way, unfinished_loads
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import BadInput
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.settings import settings
from m5_assets.weeks import Week, frozen_week

_CRON_WEEKDAY = (settings().first_weekday + 1) % 7

_OFF = "Off until you turn it on, because"


def _cron(after: int, minute: int = 0) -> str:
    """Return the cron schedule of a job some hours after the forecast; from midnight on, that is the next day."""
    days, hour = divmod(settings().schedule_hour + after, 24)
    return f"{minute} {hour} * * {(_CRON_WEEKDAY + days) % 7}"


@dg.schedule(
    job=weekly_forecast,
    cron_schedule=_cron(0),
    execution_timezone=settings().time_zone,
    description="Weekly: forecasts all weeks that are over, landed and not yet forecast, in order. On frozen data "
    f"(M5_LAST_WEEK): the earliest week not yet forecast. {_OFF} it starts long jobs, on AWS paid ones.",
)
def weekly(
    context: dg.ScheduleEvaluationContext, lake: Lake, landing: LandingFolder
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request runs of the weeks that are due and have no run yet, after the loads that they need."""
    unfinished = unfinished_weeks(context.instance, weekly_forecast.name)
    try:
        landed = landing.open().days()
    except BadInput as problem:
        return dg.SkipReason(f"the landed sales cannot be read: {problem}")
    now = context.scheduled_execution_time
    if last := frozen_week(landed[1], now, settings()):
        week = replay_week(lake, landed[0], last, settings(), unfinished)
        weeks, none = [week] if week else [], f"all weeks of these frozen data, through {last}, are forecast"
    else:
        weeks = due_weeks(lake, landed, now, settings())
        none = f"no week is due: sales are landed through {landed[1]}"
    todo = [week for week in weeks if week.key not in unfinished]
    if not todo:
        return dg.SkipReason("all due weeks are queued or running" if weeks else none)
    try:
        contents = landed_contents(landing.open())
    except BadInput as problem:
        return dg.SkipReason(f"the landed files cannot be read: {problem}")
    # The key contains the tick: a failed week is requested again at the next tick, but never twice at the same one.
    at = _scheduled(context)
    wanted = _loads(context.instance, lake, contents, weeks)
    # A schedule starts one job; a load is that job's landing assets over a range of weeks, as in `back_history`.
    requests = [load.request(weekly_forecast.name, f"@{at}") for load in wanted]
    return requests + [dg.RunRequest(run_key=f"{week}@{at}", partition_key=week.key) for week in todo]


def _loads(instance: dg.DagsterInstance, lake: Lake, contents: Contents, weeks: Sequence[Week]) -> list[Load]:
    """Return what must be loaded before the weeks; none while other loads are under way."""
    if under_way(instance):
        return []
    return loads(lake, contents, weeks, own=weeks, lacking=unfinished_loads(instance))


@dg.schedule(
    job=accuracy,
    cron_schedule=_cron(2),
    execution_timezone=settings().time_zone,
    description="Weekly, after the forecast: scores the forecasts whose four weeks of sales are now known. "
    f"{_OFF} it follows `weekly`.",
)
def weekly_accuracy(context: dg.ScheduleEvaluationContext, lake: Lake) -> list[dg.RunRequest] | dg.SkipReason:
    """Request the accuracy of every forecast that can be scored and is not, or whose sales were corrected since."""
    asked = unfinished_weeks(context.instance, accuracy.name)
    matured = [week.key for week in weeks_to_score(lake) if week.key not in asked]
    if not matured:
        return dg.SkipReason("no further forecast can be scored yet")
    at = _scheduled(context)
    return [dg.RunRequest(run_key=f"accuracy-{key}@{at}", partition_key=key) for key in matured]


@dg.schedule(
    job=housekeeping,
    cron_schedule=_cron(4, minute=30),
    execution_timezone=settings().time_zone,
    description="Weekly: deletes what M5_RETENTION_* does not keep and no current forecast needs. "
    f"{_OFF} it deletes files and runs.",
)
def weekly_housekeeping(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request one run."""
    return dg.RunRequest(run_key=f"housekeeping@{_scheduled(context)}")


def _scheduled(context: dg.ScheduleEvaluationContext) -> str:
    at: dt.datetime = context.scheduled_execution_time
    return at.strftime("%Y-%m-%dT%H:%M")


SCHEDULES = [weekly, weekly_accuracy, weekly_housekeeping]
