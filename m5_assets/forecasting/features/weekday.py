"""What the series sold on the target's weekday in the last weeks.

Here: the series' own weekdays. Not here: weekday profiles of groups (`season`), single days (`lags`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import (
    Integers,
    Matrix,
    Rows,
    Vector,
    describe,
    kernel,
    latest_same_weekday,
    ratio,
)
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import Sums, accumulate, known_days

WEEKS = (4, 8, 13, 26)

FEATURES = describe(
    "weekday",
    "origin",
    *((f"same_weekday_mean_{w}", "units/day", f"mean of y on t's weekday, last {w} of them up to o") for w in WEEKS),
    *(
        (f"same_weekday_ratio_{w}", "ratio", f"same_weekday_mean_{w} ÷ mean of y over the same {w} weeks")
        for w in WEEKS
    ),
    ("same_weekday_std_13", "units/day", "standard deviation (n - 1) of y on t's weekday, last 13 of them up to o"),
    ("same_weekday_max_13", "units", "maximum of y on t's weekday, last 13 of them up to o"),
    ("same_weekday_nonzero_share_13", "share", "share of days with a sale among the last 13 of t's weekday up to o"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features); windows are cut at the release."""
    _same_weekday(context.sales, context.release, rows.series, rows.day, rows.horizon, out)


@kernel
def _same_weekday(
    sales: Matrix, release: Integers, series: Integers, day: Integers, horizon: Integers, out: Matrix
) -> None:
    sums = np.empty((1, sales.shape[1] + 1))
    weekday = np.empty((3, sales.shape[1] + 7))
    last = -1
    for row in range(len(series)):
        s, o = series[row], day[row] - horizon[row]
        start = max(release[s], 0)
        if s != last:
            accumulate(sales, s, start, sums)
            _accumulate_weekdays(sales, s, start, weekday)
            last = s
        latest = latest_same_weekday(day[row], horizon[row])
        known = max((latest - start) // 7 + 1, 0)
        for window in range(len(WEEKS)):
            n = min(known, WEEKS[window])
            mean = ratio(weekday[0, latest + 7] - weekday[0, latest + 7 - 7 * n], n) if n > 0 else np.nan
            days = known_days(o, start, 7 * WEEKS[window])
            everything = ratio(sums[0, o + 1] - sums[0, o + 1 - days], days) if days > 0 else np.nan
            out[row, window] = mean
            out[row, len(WEEKS) + window] = ratio(mean, everything)
        _spread(sales, s, latest, min(known, 13), weekday, out[row, 2 * len(WEEKS) :])


@kernel
def _spread(sales: Matrix, s: int, latest: int, n: int, sums: Sums, out: Vector) -> None:
    """Fill standard deviation, maximum and share of sales of the last n days of a weekday."""
    out[:] = np.nan
    if n == 0:
        return
    before = latest + 7 - 7 * n
    mean = (sums[0, latest + 7] - sums[0, before]) / n
    if n > 1:
        out[0] = np.sqrt(max(sums[1, latest + 7] - sums[1, before] - n * mean * mean, 0.0) / (n - 1))
    highest = sales[s, latest]
    for week in range(1, n):
        highest = max(highest, sales[s, latest - 7 * week])
    out[1] = highest
    out[2] = (sums[2, latest + 7] - sums[2, before]) / n


@kernel
def _accumulate_weekdays(sales: Matrix, s: int, start: int, sums: Sums) -> None:
    """Fill (3, T + 7) sums of y, of y² and of days with a sale: of the day d, d - 7, ... from `start` on, at d + 7."""
    sums[:, start : start + 7] = 0.0
    for d in range(start, sales.shape[1]):
        y = np.float64(sales[s, d])
        sums[0, d + 7] = sums[0, d] + y
        sums[1, d + 7] = sums[1, d] + y * y
        sums[2, d + 7] = sums[2, d] + (y > 0)
