"""Sales of the series on the target day's weekday in recent weeks.

Not here: weekday profiles of groups (`season`), single days (`lags`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import (
    Integers,
    Matrix,
    Rows,
    describe,
    kernel,
    latest_same_weekday,
    ratio,
)
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import Sums, accumulate, deviation_of, known_days, mean_of

WEEKS = (4, 8, 13, 26)
COUNT = len(WEEKS)

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
        end, known = latest + 7, max((latest - start) // 7 + 1, 0)
        for window in range(COUNT):
            n, days = min(known, WEEKS[window]), known_days(o, start, 7 * WEEKS[window])
            mean = mean_of(n, weekday[0, end] - weekday[0, end - 7 * n])
            out[row, window] = mean
            out[row, COUNT + window] = ratio(mean, mean_of(days, sums[0, o + 1] - sums[0, o + 1 - days]))
        n = min(known, 13)
        first = end - 7 * n
        total, square = weekday[0, end] - weekday[0, first], weekday[1, end] - weekday[1, first]
        out[row, 2 * COUNT] = deviation_of(n, total, square)
        out[row, 2 * COUNT + 1] = _highest(sales, s, latest, n)
        out[row, 2 * COUNT + 2] = mean_of(n, weekday[2, end] - weekday[2, first])


@kernel
def _highest(sales: Matrix, s: int, latest: int, n: int) -> float:
    """Return the maximum over the last n days with this weekday."""
    if n == 0:
        return np.nan
    highest: float = sales[s, latest]
    for week in range(1, n):
        highest = max(highest, sales[s, latest - 7 * week])
    return highest


@kernel
def _accumulate_weekdays(sales: Matrix, s: int, start: int, sums: Sums) -> None:
    """Fill (3, T + 7) sums of y, of y² and of days with a sale: at d + 7 over days d, d - 7, ... back to `start`."""
    sums[:, : start + 7] = 0.0
    for d in range(start, sales.shape[1]):
        y = np.float64(sales[s, d])
        sums[0, d + 7] = sums[0, d] + y
        sums[1, d + 7] = sums[1, d] + y * y
        sums[2, d + 7] = sums[2, d] + (y > 0)
