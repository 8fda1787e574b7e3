from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5_assets.settings import Settings
from m5_assets.weeks import Week, frozen_week, newest_due_week, week_containing, weeks_between

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


@pytest.mark.parametrize(
    ("given", "now", "frozen", "due"),
    [
        (None, "2016-05-23", None, "2016-05-16"),
        (None, "2017-05-22", None, "2017-05-15"),
        (None, "2017-05-23", "2016-05-16", "2016-05-16"),
        ("2016-05-09", "2016-05-23", "2016-05-09", "2016-05-09"),
        ("2026-05-11", "2016-05-23", "2026-05-11", "2016-05-16"),
        ("live", "2026-11-29", None, "2026-11-16"),
    ],
)
def test_sales_that_end_more_than_a_year_ago_are_frozen_unless_set_otherwise(
    given: str | None, now: str, frozen: str | None, due: str
) -> None:
    source = Settings.model_validate({"last_week": given})
    last_day, at = dt.date(2016, 5, 22), dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC)
    assert str(frozen_week(last_day, at, source)) == str(frozen)
    assert newest_due_week(last_day, at, source).key == due


def test_frozen_sales_that_end_within_a_week_end_with_the_week_before() -> None:
    now = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
    assert frozen_week(dt.date(2016, 5, 21), now, Settings()) == Week.parse("2016-05-09")
