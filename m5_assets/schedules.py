"""When the weekly job runs: by the clock on live data, by a replay clock on frozen data.

Not here: what a week is (`weeks`) and what runs (`jobs`).
"""

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg

from m5_assets.jobs import accuracy, weekly_forecast
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.settings import Settings, settings
from m5_assets.weeks import HORIZON_DAYS, Week, week_containing, weeks_between

_CRON_WEEKDAY = (settings().first_weekday + 1) % 7


def next_replay_week(source: Settings, lake: Lake, landing: LandingResource) -> Week | None:
    """Return the earliest week of frozen data not yet forecast that has enough history; None when all are."""
    if source.last_week is None:
        raise ValueError("a replay needs frozen data: set M5_LAST_WEEK")
    reader = landing.open()
    days = reader.calendar().set_index("d")["date"]
    landed = week_containing(days[reader.sales_days()[0]].date())
    done = set(lake.partitions("ensemble_forecast"))
    earliest = landed.shift(source.min_history_weeks - 1)
    return next((w for w in weeks_between(earliest, Week(source.last_week)) if w.key not in done), None)


@dg.schedule(
    job=weekly_forecast,
    cron_schedule=f"0 {settings().schedule_hour} * * {_CRON_WEEKDAY}",
    execution_timezone=settings().time_zone,
    description="Every week, once its sales are known: the week that ended yesterday. On frozen data (M5_LAST_WEEK) "
    "the earliest week not yet forecast.",
)
def weekly(
    context: dg.ScheduleEvaluationContext, lake: Lake, landing: LandingResource
) -> dg.RunRequest | dg.SkipReason:
    """Ask for the week's run."""
    if settings().last_week is not None:
        week = next_replay_week(settings(), lake, landing)
        if week is None:
            return dg.SkipReason(f"every week up to M5_LAST_WEEK={settings().last_week} has its forecast")
        return dg.RunRequest(run_key=week.key, partition_key=week.key)
    today = context.scheduled_execution_time.astimezone(ZoneInfo(settings().time_zone)).date()
    week = week_containing(today - dt.timedelta(days=1))
    return dg.RunRequest(run_key=week.key, partition_key=week.key)


@dg.schedule(
    job=accuracy,
    cron_schedule=f"0 {(settings().schedule_hour + 2) % 24} * * {_CRON_WEEKDAY}",
    execution_timezone=settings().time_zone,
    description="Every week, after the forecast: the accuracy of the forecasts whose four weeks are now known.",
)
def weekly_accuracy(_context: dg.ScheduleEvaluationContext, lake: Lake) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for the accuracy of every forecast that has matured and is not scored."""
    sales, scored = set(lake.partitions("raw_sales")), set(lake.partitions("forecast_accuracy"))
    matured = [
        key
        for key in lake.partitions("ensemble_forecast")
        if key not in scored and all(Week.parse(key).shift(i).key in sales for i in range(1, HORIZON_DAYS // 7 + 1))
    ]
    if not matured:
        return dg.SkipReason("no forecast has matured since the last one was scored")
    return [dg.RunRequest(run_key=f"accuracy-{key}", partition_key=key) for key in matured]


SCHEDULES = [weekly, weekly_accuracy]
