"""Rolling means, standard deviations, maxima and their ratios.

Windows end at the origin, three of them at t - 28. They are cut at the release and at the panel's first day; a value is
missing if no day is left.
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import Sums, accumulate, deviation_of, known_days, mean_of

WINDOWS = (7, 14, 28, 56, 91, 182, 364)
COUNT = len(WINDOWS)
MAXIMA = (28, 91)
_AFTER_MOMENTS = 2 * COUNT
_AFTER_MAXIMA = _AFTER_MOMENTS + len(MAXIMA)
_LAG = 28

FEATURES = describe(
    "rolling",
    "origin",
    *((f"rolling_mean_{w}", "units/day", f"mean of y over the {w} days up to o") for w in WINDOWS),
    *((f"rolling_std_{w}", "units/day", f"standard deviation (n - 1) of y over the {w} days up to o") for w in WINDOWS),
    *((f"rolling_max_{w}", "units", f"maximum of y over the {w} days up to o") for w in MAXIMA),
    ("rolling_ratio_7_28", "ratio", "rolling_mean_7 ÷ rolling_mean_28"),
    ("rolling_ratio_28_91", "ratio", "rolling_mean_28 ÷ rolling_mean_91"),
    ("rolling_ratio_91_364", "ratio", "rolling_mean_91 ÷ rolling_mean_364"),
    ("rolling_cv_28", "ratio", "rolling_std_28 ÷ rolling_mean_28"),
    ("rolling_cv_91", "ratio", "rolling_std_91 ÷ rolling_mean_91"),
    ("lag_28_rolling_mean_7", "units/day", "mean of y over the 7 days up to t - 28"),
    ("lag_28_rolling_mean_28", "units/day", "mean of y over the 28 days up to t - 28"),
    ("lag_28_rolling_std_28", "units/day", "standard deviation (n - 1) of y over the 28 days up to t - 28"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    _moments(context.sales, context.release, rows.series, rows.day, rows.origin, out)
    _maxima(context.sales, context.release, rows.series, rows.origin, out)
    _ratios(out)


@kernel
def _moments(sales: Matrix, release: Integers, series: Integers, day: Integers, origin: Integers, out: Matrix) -> None:
    sums = np.empty((2, sales.shape[1] + 1))
    last_s, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], origin[row]
        start = max(release[s], 0)
        if s != last_s:
            accumulate(sales, s, start, sums)
        if s == last_s and o == last_o:
            out[row, :_AFTER_MOMENTS] = out[row - 1, :_AFTER_MOMENTS]
        else:
            for window in range(COUNT):
                out[row, window], out[row, COUNT + window] = _two(sums, o, start, WINDOWS[window])
        last_s, last_o = s, o
        column = _AFTER_MAXIMA + 5
        out[row, column], _ = _two(sums, day[row] - _LAG, start, 7)
        out[row, column + 1], out[row, column + 2] = _two(sums, day[row] - _LAG, start, 28)


@kernel
def _maxima(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    last_s, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], origin[row]
        start = max(release[s], 0)
        for place in range(len(MAXIMA)):
            first, column = max(start, o + 1 - MAXIMA[place]), _AFTER_MOMENTS + place
            if s == last_s and o == last_o:
                out[row, column] = out[row - 1, column]
            elif s == last_s and o == last_o + 1 and o > start:
                highest, leaving = out[row - 1, column], o - MAXIMA[place]
                if sales[s, o] < highest and leaving >= start and sales[s, leaving] == highest:
                    highest = sales[s, first : o + 1].max()
                out[row, column] = max(highest, sales[s, o])
            else:
                out[row, column] = sales[s, first : o + 1].max() if o >= first else np.nan
        last_s, last_o = s, o


@kernel
def _ratios(out: Matrix) -> None:
    for row in range(len(out)):
        mean_7, mean_28, mean_91, mean_364 = out[row, 0], out[row, 2], out[row, 4], out[row, 6]
        out[row, _AFTER_MAXIMA] = ratio(mean_7, mean_28)
        out[row, _AFTER_MAXIMA + 1] = ratio(mean_28, mean_91)
        out[row, _AFTER_MAXIMA + 2] = ratio(mean_91, mean_364)
        out[row, _AFTER_MAXIMA + 3] = ratio(out[row, COUNT + 2], mean_28)
        out[row, _AFTER_MAXIMA + 4] = ratio(out[row, COUNT + 4], mean_91)


@kernel
def _two(sums: Sums, last: int, start: int, window: int) -> tuple[float, float]:
    """Return the mean and standard deviation (n - 1) of the window that ends on day `last`."""
    n = known_days(last, start, window)
    end = max(last + 1, 0)  # t - 28 may be before the panel, where n is 0
    first = end - n
    total, square = sums[0, end] - sums[0, first], sums[1, end] - sums[1, first]
    return mean_of(n, total), deviation_of(n, total, square)
