from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from m5_assets.checks.calendar_rules import days_without_gap, events_named, reaches_the_horizon
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")


def _calendar(days: int = 40) -> pd.DataFrame:
    frame = pd.DataFrame({"date": pd.date_range("2016-05-01", periods=days), "d": np.arange(1, days + 1)})
    return frame.assign(event_name_1="", event_type_1="", event_name_2="", event_type_2="")


def test_gaps_and_short_calendars_are_detected() -> None:
    assert days_without_gap(_calendar()).passed
    assert not days_without_gap(_calendar().drop(index=7)).passed
    assert not days_without_gap(_calendar().assign(d=1)).passed
    assert reaches_the_horizon(WEEK.last_forecast_day, WEEK).passed
    assert not reaches_the_horizon(WEEK.last_forecast_day - dt.timedelta(days=1), WEEK).passed
    odd = _calendar()
    odd.loc[3, "event_name_1"] = "Easter"
    assert events_named(_calendar()).passed
    assert "2016-05-04" in events_named(odd).text
    assert not events_named(odd).passed
