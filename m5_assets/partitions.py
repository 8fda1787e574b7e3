"""The weekly partitions: the weeks that can be built from what is landed and from what is loaded already.

All assets share one definition, because Dagster's jobs need that. A process reads it once, when it loads the code; a
code server keeps its own until it is reloaded.
"""

from __future__ import annotations

import datetime as dt

import dagster as dg

from m5_assets.resources.known_days import known_days
from m5_assets.resources.landing_files import Span
from m5_assets.settings import Settings, settings
from m5_assets.weeks import DAYS, Week, frozen_week, week_containing


def weekly_partitions(source: Settings, known: Span | None, now: dt.datetime) -> dg.WeeklyPartitionsDefinition:
    """Return the weekly partitions, from the first known week to the last one of frozen data or the last full week.

    While no day is known they begin with the week of M5's d_1.
    """
    first = week_containing(known.first_day) if known else Week(source.first_week)
    last = frozen_week(known.last_day if known else now.date(), now, source)
    return dg.WeeklyPartitionsDefinition(
        start_date=(min(first, last) if last else first).key,
        end_date=last.shift(1).key if last else None,
        day_offset=(source.first_weekday + 1) % DAYS,  # cron counts from Sunday = 0
        timezone=source.time_zone,
    )


KNOWN = known_days(settings().landing, settings().lake)
WEEKS = weekly_partitions(settings(), KNOWN, dt.datetime.now(dt.UTC))
