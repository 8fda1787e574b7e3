"""Moments of the sales of the last days: mean, standard deviation, skewness, maximum, exponential mean, ratios.

Here: windows that end at the origin, and three that end at t - 28. A window is cut at the release and at the panel's
first day, and missing when nothing is left. Not here: windows of one weekday (`weekday`), of zeros (`intermittency`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context

WINDOWS = (7, 14, 28, 56, 91, 182, 364)
ALPHAS = (0.05, 0.1, 0.3)
COUNT = len(WINDOWS)
AFTER_MOMENTS = 3 * COUNT

FEATURES = describe(
    "rolling",
    "origin",
    *((f"rolling_mean_{w}", "units/day", f"mean of y over the {w} days up to o") for w in WINDOWS),
    *((f"rolling_std_{w}", "units/day", f"standard deviation (n - 1) of y over the {w} days up to o") for w in WINDOWS),
    *((f"rolling_skew_{w}", "1", f"bias-corrected skewness of y over the {w} days up to o") for w in WINDOWS),
    ("rolling_max_28", "units", "maximum of y over the 28 days up to o"),
    ("rolling_max_91", "units", "maximum of y over the 91 days up to o"),
    ("rolling_ratio_7_28", "ratio", "rolling_mean_7 ÷ rolling_mean_28"),
    ("rolling_ratio_28_91", "ratio", "rolling_mean_28 ÷ rolling_mean_91"),
    ("rolling_ratio_91_364", "ratio", "rolling_mean_91 ÷ rolling_mean_364"),
    ("rolling_cv_28", "ratio", "rolling_std_28 ÷ rolling_mean_28"),
    ("rolling_cv_91", "ratio", "rolling_std_91 ÷ rolling_mean_91"),
    *(
        (f"ewm_mean_{int(100 * a):02d}", "units/day", f"exponential mean of y up to o, weight (1 - {a})**age, 364 days")
        for a in ALPHAS
    ),
    ("lag_28_rolling_mean_7", "units/day", "mean of y over the 7 days up to t - 28"),
    ("lag_28_rolling_mean_28", "units/day", "mean of y over the 28 days up to t - 28"),
    ("lag_28_rolling_std_28", "units/day", "standard deviation (n - 1) of y over the 28 days up to t - 28"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    _moments(context.sales, context.release, rows.series, rows.origin, out)
    _means_of_moments(context.sales, context.release, rows.series, rows.day, rows.origin, out)


@kernel
def _moments(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    for row in range(len(series)):
        s, o = series[row], origin[row]
        length = o + 1 - max(release[s], 0)
        n, window = 0, 0
        s1, s2, s3, highest = 0.0, 0.0, 0.0, 0.0
        highest_28, highest_91 = np.nan, np.nan
        while window < COUNT:
            until = min(WINDOWS[window], length)
            while n < until:
                y = sales[s, o - n]
                s1 += y
                s2 += y * y
                s3 += y * y * y
                highest = max(highest, y)
                n += 1
            mean, deviation, skewness = _three(n, s1, s2, s3)
            out[row, window] = mean
            out[row, COUNT + window] = deviation
            out[row, 2 * COUNT + window] = skewness
            if WINDOWS[window] == 28 and n > 0:
                highest_28 = highest
            if WINDOWS[window] == 91 and n > 0:
                highest_91 = highest
            window += 1
        out[row, AFTER_MOMENTS] = highest_28
        out[row, AFTER_MOMENTS + 1] = highest_91


@kernel
def _means_of_moments(
    sales: Matrix, release: Integers, series: Integers, day: Integers, origin: Integers, out: Matrix
) -> None:
    first = AFTER_MOMENTS + 2
    for row in range(len(series)):
        s, t, o = series[row], day[row], origin[row]
        start = max(release[s], 0)
        out[row, first] = ratio(out[row, 0], out[row, 2])
        out[row, first + 1] = ratio(out[row, 2], out[row, 4])
        out[row, first + 2] = ratio(out[row, 4], out[row, 6])
        out[row, first + 3] = ratio(out[row, COUNT + 2], out[row, 2])
        out[row, first + 4] = ratio(out[row, COUNT + 4], out[row, 4])
        for a in range(len(ALPHAS)):
            out[row, first + 5 + a] = _exponential(sales, s, max(start, o - 363), o, ALPHAS[a])
        after = first + 5 + len(ALPHAS)
        out[row, after], _ = _mean_and_deviation(sales, s, max(start, t - 34), t - 28)
        out[row, after + 1], out[row, after + 2] = _mean_and_deviation(sales, s, max(start, t - 55), t - 28)


@kernel
def _three(n: int, s1: float, s2: float, s3: float) -> tuple[float, float, float]:
    """Return mean, standard deviation (n - 1) and adjusted Fisher-Pearson skewness (none of a constant) from sums."""
    if n == 0:
        return np.nan, np.nan, np.nan
    mean = s1 / n
    m2 = max(s2 / n - mean * mean, 0.0)
    if n == 1:
        return mean, np.nan, np.nan
    deviation = np.sqrt(m2 * n / (n - 1))
    if n == 2:
        return mean, deviation, np.nan
    # The sums are exact whole numbers, so what is left of a constant series is rounding of the mean alone.
    if m2 <= 1e-12 * max(mean * mean, 1e-12):
        return mean, deviation, np.nan
    m3 = s3 / n - 3 * mean * s2 / n + 2 * mean**3
    return mean, deviation, m3 / m2**1.5 * np.sqrt(n * (n - 1.0)) / (n - 2)


@kernel
def _exponential(sales: Matrix, s: int, first: int, last: int, alpha: float) -> float:
    total, weight, w = 0.0, 0.0, 1.0
    for k in range(last - first + 1):
        total += w * sales[s, last - k]
        weight += w
        w *= 1 - alpha
    return ratio(total, weight)


@kernel
def _mean_and_deviation(sales: Matrix, s: int, first: int, last: int) -> tuple[float, float]:
    s1, s2, n = 0.0, 0.0, 0
    for d in range(first, last + 1):
        y = sales[s, d]
        s1 += y
        s2 += y * y
        n += 1
    mean, deviation, _ = _three(n, s1, s2, 0.0)
    return mean, deviation
