"""The sensor on the landing folder: forecasts new weeks and reloads corrected ones once their file is complete.

A file is complete when two looks find the same size and time. Its content is then compared with the lake, week by week:
an early file waits until its week is over, an unchanged file changes nothing, and a corrected file reloads exactly the
weeks it changes, or the prices, or the calendar. Forecasts based on corrected data fail a check, which the alerts
report; the newest forecast is rebuilt at once.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import dagster as dg

from m5_assets.automation.due_weeks import FORECAST, due_weeks, mark_stale, unfinished_weeks
from m5_assets.automation.jobs import back_history, weekly_forecast
from m5_assets.automation.landed_loads import (
    Contents,
    corrected_tables,
    landed_contents,
    loads,
    under_way,
    unfinished_loads,
)
from m5_assets.checks.landing import LANDED, landed_is_fresh
from m5_assets.checks.recording import Finding, record_again
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import BadInput
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.settings import settings
from m5_assets.weeks import Week, frozen_week, last_full_week

_SAID = 12

Stamps = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Seen:
    """The sensor's state between two looks, kept as its cursor.

    Attributes:
        stamps: size and time of the files at the last look.
        read: size and time of the files when their contents were last read.
        days: first and last day of those sales.
        contents: digests of those contents by week.
        tables: the unpartitioned tables that they correct.
        settled: whether everything that follows from them has been requested.
    """

    stamps: Stamps = field(default_factory=dict)
    read: Stamps = field(default_factory=dict)
    days: tuple[str, str] | None = None
    contents: Contents = field(default_factory=dict)
    tables: Sequence[str] = ()
    settled: bool = True

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """Return the state in a cursor; empty before the first look."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def cursor(self) -> str:
        """Return the state as a cursor."""
        return json.dumps(self.__dict__)


@dg.sensor(
    jobs=[weekly_forecast, back_history],
    minimum_interval_seconds=60,
    description="Forecasts the new weeks of a complete landed file and reloads the weeks it corrects; frozen data are "
    "only reloaded. Off until you turn it on, because it starts long jobs, on AWS paid ones.",
)
def landed_files(context: dg.SensorEvaluationContext, lake: Lake, landing: LandingFolder) -> dg.SensorResult:
    """Look at the landed files and request what follows from them."""
    seen = Seen.parse(context.cursor)
    reader = landing.open()
    stamps = {name: list(stamp) for name, stamp in reader.stamps().items()}
    if not stamps:
        return _nothing(f"no file in {landing.root}", Seen())
    if stamps != seen.stamps:
        return _nothing("files changed since the last look: are they complete?", _with(seen, stamps=stamps))
    if stamps != seen.read:
        try:
            landing.verified()
            days = reader.days()
            contents = landed_contents(reader)
            tables = corrected_tables(lake, reader)
        except BadInput as problem:
            _record_landed(context.instance, lake, Finding(False, str(problem)))
            return _nothing(f"rejected: {problem}", _with(seen, read=stamps))
        _record_landed(context.instance, lake, landed_is_fresh(days[1], dt.datetime.now(dt.UTC), settings()))
        if contents == seen.contents and not tables and seen.settled:
            return _nothing("files landed again, unchanged", _with(seen, read=stamps))
        texts = (days[0].isoformat(), days[1].isoformat())
        seen = Seen(stamps, stamps, texts, contents, tables, settled=False)
    if seen.settled:
        return _nothing("nothing has landed since the last look", seen)
    return _ask(context, lake, seen)


def _with(seen: Seen, **changes: object) -> Seen:
    return Seen(**{**seen.__dict__, **changes})


def _nothing(reason: str, seen: Seen) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=reason, cursor=seen.cursor())


def _ask(context: dg.SensorEvaluationContext, lake: Lake, seen: Seen) -> dg.SensorResult:
    """Request what follows from the contents: first the loads, then the forecasts."""
    now = dt.datetime.now(dt.UTC)
    assert seen.days is not None  # noqa: S101  # set together with the contents
    days = dt.date.fromisoformat(seen.days[0]), dt.date.fromisoformat(seen.days[1])
    frozen = frozen_week(days[1], now, settings())
    due = [] if frozen else due_weeks(lake, days, now, settings())
    if under_way(context.instance):
        return _nothing("landed files are being loaded", seen)
    lacking = unfinished_loads(context.instance)
    wanted = loads(lake, seen.contents, due, own=due, tables=seen.tables, lacking=lacking)
    asked = [(load, load.request(back_history.name, _landing(seen))) for load in wanted]
    requests = [request for _, request in asked if not _was_asked(context.instance, request)]
    if requests:
        context.log.info("loading what changed or is missing: " + ", ".join(load.name for load in wanted))
        return dg.SensorResult(run_requests=requests, cursor=seen.cursor())
    if failed := [load.name for load in wanted if load.weeks]:  # reported; the next file or a person fixes it
        return _nothing(f"weeks {', '.join(failed)} could not be loaded", _with(seen, settled=True))
    stale = mark_stale(context.instance, lake)
    if stale:
        context.log.info(f"forecasts based on data corrected since: {_listed(stale)}")
    again = [week for week in stale if week.key == lake.partitions(FORECAST)[-1]]
    unfinished = unfinished_weeks(context.instance, weekly_forecast.name)
    weeks = [week for week in sorted({*due, *again}) if week.key not in unfinished]
    early = not frozen and max(seen.contents["raw_sales"], default="") > last_full_week(now, settings()).key
    after = _with(seen, settled=not early)
    if not weeks:
        return _nothing("the last landed week is not over yet" if early else "all landed weeks are forecast", after)
    return dg.SensorResult(run_requests=[_forecast(week, seen) for week in weeks], cursor=after.cursor())


def _landing(seen: Seen) -> str:
    """Return a digest of what landed; it is part of run keys, so that nothing is requested twice for the same files."""
    return hashlib.sha256(json.dumps(seen.read, sort_keys=True).encode()).hexdigest()[:12]


def _was_asked(instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    # Dagster drops a request whose key it has seen; waiting for its run would then never end.
    return bool(instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)}), limit=1))


def _forecast(week: Week, seen: Seen) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"{week} {_landing(seen)}", job_name=weekly_forecast.name, partition_key=week.key)


def _record_landed(instance: dg.DagsterInstance, lake: Lake, finding: Finding) -> None:
    """Record for the newest week whether the landed file is good; the alerts report it."""
    weeks = lake.partitions("raw_sales")
    if weeks:
        record_again(instance, "raw_sales", LANDED, Week.parse(weeks[-1]), finding)


def _listed(weeks: Sequence[Week]) -> str:
    more = f" and {len(weeks) - _SAID} more" if len(weeks) > _SAID else ""
    return ", ".join(week.key for week in weeks[:_SAID]) + more
