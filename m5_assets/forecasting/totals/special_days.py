"""The ridge's regressors: weekdays, days of the month, days around events, SNAP days, yearly season and trend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.hierarchy import Floats
from m5_assets.forecasting.totals.daily_totals import TotalsHistory

EVENT_DAYS = range(-2, 2)
"""Days around an event, from 2 before to 1 after, each with its own effect."""
HARMONICS = 3
"""Sine and cosine pairs for the yearly season; more would fit single weeks of the few years available."""


def common(history: TotalsHistory, yearly: bool) -> Floats:
    """Return (T + 28, p) the regressors that all aggregates share: dummies, then waves and the trend.

    Args:
        history: the history with the calendar.
        yearly: whether to include the yearly season and the trend, which need a long history.
    """
    dates = history.dates
    parts = [one_hot(weekdays(dates), 7), one_hot(days_of_month(dates) - 1, 31), _around_events(history)]
    if yearly:
        phase = 2 * np.pi * day_of_year(dates)[:, None] / 365.25 * np.arange(1, HARMONICS + 1)
        trend = (np.arange(len(dates)) - history.days) / 365.25
        parts += [np.sin(phase), np.cos(phase), trend[:, None]]
    return np.column_stack(parts)


def snap_weekdays(history: TotalsHistory, state: str) -> Floats:
    """Return (T + 28, 7) the SNAP days of a state, one column per weekday."""
    snap: Floats = history.calendar[f"snap_{state}"].to_numpy(float)[:, None] * one_hot(weekdays(history.dates), 7)
    return snap


def weekdays(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Return the day of the week, 0 for Monday."""
    return np.asarray((dates.astype("datetime64[D]").astype(np.int64) + 3) % 7, np.int64)  # 1970-01-01 was a Thursday


def days_of_month(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Return the day of the month, from 1."""
    days = dates.astype("datetime64[D]") - dates.astype("datetime64[M]")
    return np.asarray(days.astype(np.int64) + 1, np.int64)


def day_of_year(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Return the day of the year, from 0."""
    days = dates.astype("datetime64[D]") - dates.astype("datetime64[Y]")
    return np.asarray(days.astype(np.int64), np.int64)


def one_hot(codes: npt.NDArray[np.int64], count: int) -> Floats:
    """Return (len(codes), count) with a one in each row's column and zeros elsewhere."""
    return np.asarray(codes[:, None] == np.arange(count), np.float64)


def _around_events(history: TotalsHistory) -> Floats:
    names = history.calendar[["event_name_1", "event_name_2"]].to_numpy(str)
    events = [name for name in np.unique(names) if name]
    table = np.zeros((len(names), len(events), len(EVENT_DAYS)))
    for column, event in enumerate(events):
        days = np.flatnonzero((names == event).any(axis=1))
        for place, shift in enumerate(EVENT_DAYS):
            inside = days + shift
            table[inside[(inside >= 0) & (inside < len(names))], column, place] = 1
    return table.reshape(len(names), -1)
