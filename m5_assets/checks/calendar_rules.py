"""Rules for the landed calendar: without gaps, long enough, events with name and type."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from m5_assets.checks.recording import Finding
from m5_assets.forecasting.panel import EVENT_COLUMNS
from m5_assets.weeks import HORIZON_DAYS, Week


def days_without_gap(calendar: pd.DataFrame) -> Finding:
    """Check that dates and day numbers both increase by one."""
    steps = calendar["date"].diff().dropna() != pd.Timedelta(days=1)
    numbers = calendar["d"].diff().dropna() != 1
    if calendar.empty or steps.any() or numbers.any():
        at = calendar["date"].iloc[int(np.flatnonzero((steps | numbers).to_numpy())[0]) + 1] if len(calendar) else None
        return Finding(False, f"{int((steps | numbers).sum())} gaps between the days, the first at {at}")
    return Finding(
        True, f"{len(calendar):,} days, {calendar['date'].iloc[0]:%Y-%m-%d} to {calendar['date'].iloc[-1]:%Y-%m-%d}"
    )


def reaches_the_horizon(last_day: dt.date, newest: Week | None) -> Finding:
    """Check that the calendar covers the days of the newest week's forecast."""
    if newest is None:
        return Finding(True, f"no week of sales yet; the calendar reaches {last_day}")
    text = f"the calendar reaches {last_day}, the horizon of week {newest} ends {newest.last_forecast_day}"
    return Finding(last_day >= newest.last_forecast_day, text, {"horizon_days": HORIZON_DAYS})


def events_named(calendar: pd.DataFrame) -> Finding:
    """Check that no event has a name without a type or a type without a name."""
    pairs = [(EVENT_COLUMNS[0], EVENT_COLUMNS[1]), (EVENT_COLUMNS[2], EVENT_COLUMNS[3])]
    odd = [((calendar[name] == "") != (calendar[kind] == "")) for name, kind in pairs]
    days = calendar.loc[odd[0] | odd[1], "date"]
    text = f"{len(days)} days have an event's name without its type, or the reverse"
    return Finding(days.empty, text + (f", the first {days.iloc[0]:%Y-%m-%d}" if len(days) else ""))
