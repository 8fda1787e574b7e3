from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5_assets.settings import Settings
from m5_assets.weeks import Week, week_containing, weekly_partitions, weeks_between

DAYS = st.dates(dt.date(2011, 1, 29), dt.date(2030, 1, 1))


@pytest.mark.parametrize(
    ("week", "origin_day"), [("2016-02-22", 1857), ("2016-03-21", 1885), ("2016-04-18", 1913), ("2016-05-16", 1941)]
)
def test_the_competitions_origins_end_weeks(week: str, origin_day: int) -> None:
    assert Week.parse(week).origin == dt.date(2011, 1, 29) + dt.timedelta(days=origin_day - 1)


@given(DAYS)
def test_a_day_lies_in_its_week(day: dt.date) -> None:
    week = week_containing(day)
    assert week.first_day <= day <= week.origin
    assert Week.parse(week.key) == week
    assert (week.last_forecast_day - week.origin).days == 28


@given(DAYS, st.integers(0, 60))
def test_weeks_between_are_consecutive_and_inclusive(day: dt.date, count: int) -> None:
    first = week_containing(day)
    weeks = weeks_between(first, first.shift(count))
    assert len(weeks) == count + 1
    assert all(later == earlier.shift(1) for earlier, later in pairwise(weeks))
    assert weeks_between(first, first.shift(-1)) == []


@pytest.mark.parametrize("text", ["2016-05-17", "tomorrow", "2016-13-01", ""])
def test_invalid_week_keys_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="week"):
        Week.parse(text)


def test_partitions_of_frozen_data_end_with_its_last_week() -> None:
    partitions = weekly_partitions(Settings(last_week=dt.date(2016, 5, 16)))
    keys = partitions.get_partition_keys()
    assert (keys[0], keys[-1], len(keys)) == ("2011-01-24", "2016-05-16", 278)


def test_partitions_follow_weeks_that_begin_on_sunday() -> None:
    partitions = weekly_partitions(Settings(week_start="sunday", last_week=dt.date(2016, 5, 15)))
    assert partitions.get_partition_keys()[0] == "2011-01-23"
    assert partitions.get_last_partition_key() == "2016-05-15"
