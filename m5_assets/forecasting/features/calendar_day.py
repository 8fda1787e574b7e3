"""The target day's position in the week, month and year, its horizon, and whether the store is closed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from m5_assets.forecasting.features.base import Matrix, Rows, describe, look_up
from m5_assets.forecasting.features.context import Context

FEATURES = describe(
    "calendar",
    "horizon",
    ("horizon", "days", "h = t - o, 1 to 28"),
    ("weekday", "code", "weekday of t, Monday = 0"),
    ("is_weekend", "flag", "t is a Saturday or a Sunday"),
    ("day_of_month", "days", "day of the month of t, from 1"),
    ("week_of_month", "weeks", "week of the month of t, from 1: days 1 to 7 are week 1"),
    ("days_to_month_end", "days", "days from t to the last day of its month"),
    ("month", "code", "month of t, from 1"),
    ("quarter", "code", "quarter of t, from 1"),
    ("week_of_year", "weeks", "ISO week of t"),
    ("day_of_year", "days", "day of the year of t, from 1"),
    ("closed", "flag", "the store is closed on t"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    out[:, 0] = rows.horizon
    look_up(_table(context.dates[0], len(context.dates)), rows.day, out[:, 1:-1])
    out[:, -1] = context.closed[context.codes["store"][rows.series], rows.day]


@lru_cache(maxsize=2)
def _table(first: np.datetime64, days: int) -> Matrix:
    """Return the features of consecutive days; cached, as every chunk of rows needs the same ones."""
    dates = pd.DatetimeIndex(first + np.arange(days))
    columns = [
        dates.day_of_week,
        dates.day_of_week >= 5,
        dates.day,
        (dates.day + 6) // 7,
        dates.days_in_month - dates.day,
        dates.month,
        dates.quarter,
        dates.isocalendar().week,
        dates.day_of_year,
    ]
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)
