"""Weeks, origins and horizons; the last week of frozen data.

A week is named by its first day. Its sales are known through its last day, the origin; its forecast covers the 28 days
after the origin.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import total_ordering
from zoneinfo import ZoneInfo

from m5_assets.settings import Settings, settings

HORIZON_DAYS = 28
DAYS = 7
_FROZEN_AFTER = dt.timedelta(days=365)
_YEARS = (1900, 2999)
"""Beyond them, the windows before and after a week would leave the calendar."""


@total_ordering
@dataclass(frozen=True)
class Week:
    """A forecast week.

    Attributes:
        first_day: the first day, which is also the partition key.
    """

    first_day: dt.date

    @classmethod
    def parse(cls, key: str) -> Week:
        """Return the week of a partition key such as `2016-05-16`.

        Raises:
            ValueError: the key is not a date, or not the first day of a week; the message suggests the right day.
        """
        try:
            day = dt.date.fromisoformat(key)
        except ValueError:
            raise ValueError(f"{key!r} is not a week: give its first day, such as 2016-05-16") from None
        if not _YEARS[0] <= day.year <= _YEARS[1]:
            raise ValueError(f"{key} is no week of sales: give one of the years {_YEARS[0]} to {_YEARS[1]}")
        late = (day.weekday() - settings().first_weekday) % DAYS
        if late:
            first = day - dt.timedelta(days=late)
            raise ValueError(
                f"{key} is not the first day of a week; weeks begin on {settings().week_start}, try {first}"
            )
        return cls(day)

    @property
    def key(self) -> str:
        """The partition key."""
        return self.first_day.isoformat()

    @property
    def origin(self) -> dt.date:
        """The last day whose sales are known."""
        return self.first_day + dt.timedelta(days=DAYS - 1)

    @property
    def last_forecast_day(self) -> dt.date:
        """The last of the 28 days after the origin."""
        return self.origin + dt.timedelta(days=HORIZON_DAYS)

    def shift(self, weeks: int) -> Week:
        """Return the week this many weeks later, or earlier if negative."""
        return Week(self.first_day + dt.timedelta(days=DAYS * weeks))

    def __lt__(self, other: Week) -> bool:
        return self.first_day < other.first_day

    def __str__(self) -> str:
        return self.key


def week_containing(day: dt.date) -> Week:
    """Return the week that contains this day."""
    return Week(day - dt.timedelta(days=(day.weekday() - settings().first_weekday) % DAYS))


def weeks_between(first: Week, last: Week) -> list[Week]:
    """Return the weeks from `first` to `last`, both included; empty when `last` is earlier."""
    count = (last.first_day - first.first_day).days // DAYS + 1
    return [first.shift(i) for i in range(count)]


def last_complete_week(last_day: dt.date) -> Week:
    """Return the last week whose seven days are over by this day."""
    return week_containing(last_day + dt.timedelta(days=1)).shift(-1)


def last_full_week(now: dt.datetime, source: Settings) -> Week:
    """Return the last week that is over.

    Args:
        now: a time-zone-aware time; days end at midnight in the settings' time zone.
        source: the settings.
    """
    return week_containing(now.astimezone(ZoneInfo(source.time_zone)).date()).shift(-1)


def frozen_week(last_day: dt.date, now: dt.datetime, source: Settings) -> Week | None:
    """Return the last week of frozen data, None for live data.

    M5_LAST_WEEK decides; while it is unset, sales that end more than a year ago are frozen.

    Args:
        last_day: the last day of the sales.
        now: a time-zone-aware time.
        source: the settings.
    """
    if source.last_week is None:
        return last_complete_week(last_day) if last_day < now.date() - _FROZEN_AFTER else None
    return None if source.last_week == "live" else Week(source.last_week)


def newest_due_week(last_day: dt.date, now: dt.datetime, source: Settings) -> Week:
    """Return the last week whose sales are due: the last one that is over, of frozen data at most its last one.

    Args:
        last_day: the last day of the sales.
        now: a time-zone-aware time.
        source: the settings.
    """
    over, frozen = last_full_week(now, source), frozen_week(last_day, now, source)
    return min(over, frozen) if frozen else over
