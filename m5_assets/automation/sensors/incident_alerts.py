"""The sensor that reports incidents: every minute it compares current incidents with those already reported.

Its cursor keeps which channel received what. `incident_detection` finds incidents, `m5_assets.alerts` sends messages.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterator

import dagster as dg

from m5_assets.alerts import Incident, announce, channels_of
from m5_assets.automation.schedules import SCHEDULES
from m5_assets.automation.sensors import incident_detection
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.settings import settings

log = logging.getLogger("m5.alerts")


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports failed runs and checks, missed schedules, stale data and old models: one message when an "
    "incident begins, one when it is over. Channels: M5_ALERTS_URLS, and the log always.",
)
def alerts(context: dg.SensorEvaluationContext, lake: Lake, landing: LandingFolder) -> dg.SensorResult:
    """Find incidents and send what changed."""
    found = list(look(context, lake, landing))
    cursor = announce(found, context.cursor, channels_of(settings().alerts))
    return dg.SensorResult(skip_reason=f"{len(found)} open incidents", cursor=cursor)


def look(context: dg.SensorEvaluationContext, lake: Lake, landing: LandingFolder) -> Iterator[Incident]:
    """Yield all current incidents; a look that fails becomes an incident and does not stop the others."""
    source, now = settings(), dt.datetime.now(dt.UTC)
    ui, instance = source.alerts.ui_url.rstrip("/"), context.instance
    repository = context.repository_def
    assert repository is not None  # noqa: S101  # the daemon always provides it
    crons = {s.name: (str(s.cron_schedule), s.execution_timezone or "UTC") for s in SCHEDULES}
    looks: dict[str, Callable[[], Iterator[Incident]]] = {
        "runs": lambda: incident_detection.failed_runs(instance, ui),
        "checks": lambda: incident_detection.failed_checks(instance, repository, ui),
        "schedules": lambda: incident_detection.missed_schedules(instance, crons, now, ui),
        "data": lambda: incident_detection.stale_data(landing, now, source, ui),
        "partitions": lambda: incident_detection.weeks_not_offered(lake, landing, now, source, ui),
        "models": lambda: incident_detection.old_models(lake, now, source, ui),
        "forecast": lambda: incident_detection.late_forecast(lake, landing, now, source, ui),
    }
    for name, function in looks.items():
        try:
            yield from list(function())
        except Exception as problem:
            log.exception("the look at %s failed", name)
            yield Incident(
                key=f"look:{name}",
                title=f"alerts cannot look at the {name}",
                what=f"{type(problem).__name__}: {problem}",
                effect="incidents of this kind are not reported until the look works again",
                remedy="run `m5 doctor`; it shows what cannot be reached",
                link=f"{ui}/automation",
            )
