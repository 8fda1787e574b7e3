"""Intermittency: how often the series sells, how long it has not, and how surprising that is.

Source: Syntetos and Boylan, "The accuracy of intermittent demand estimates" (2005), for the mean interval between sales
(ADI) and the squared coefficient of variation of their sizes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import accumulate, known_days

WINDOWS = (7, 28, 91, 182)
YEAR = 364

FEATURES = describe(
    "intermittency",
    "origin",
    *((f"nonzero_share_{w}", "share", f"share of days with a sale among the {w} days up to o") for w in WINDOWS),
    *((f"nonzero_mean_{w}", "units/day", f"mean of y on days with a sale, {w} days up to o") for w in WINDOWS),
    ("days_since_sale", "days", "days from the last sale to o, within 364 days"),
    ("longest_zero_run_91", "days", "longest run of days without a sale in the 91 days up to o"),
    ("demand_interval_182", "days", "mean interval between days with a sale, 182 days up to o (ADI)"),
    ("demand_size_cv2_182", "1", "squared coefficient of variation of y on days with a sale, 182 days up to o"),
    ("zero_run_ratio", "ratio", "days_since_sale ÷ demand_interval_182"),
    ("zero_run_probability", "probability", "(1 - nonzero_share_182)**days_since_sale: a stock-out where it is small"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features); windows are cut at the release."""
    _shares(context.sales, context.release, rows.series, rows.origin, out)
    _runs(context.sales, context.release, rows.series, rows.origin, out)


@kernel
def _shares(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    sums = np.empty((2, sales.shape[1] + 1))
    sold_days = np.empty(sales.shape[1] + 1, np.int64)
    last = -1
    for row in range(len(series)):
        s, end = series[row], origin[row] + 1
        start = max(release[s], 0)
        if s != last:
            accumulate(sales, s, start, sums)
            _count_sales(sales, s, sold_days)
            last = s
        n, sold, first = 0, 0, end
        for window in range(len(WINDOWS)):
            n = known_days(end - 1, start, WINDOWS[window])
            first = end - n
            sold = sold_days[end] - sold_days[first]
            out[row, window] = ratio(sold, n)
            out[row, 4 + window] = ratio(sums[0, end] - sums[0, first], sold) if sold > 0 else np.nan
        out[row, 10] = ratio(n, sold)
        out[row, 11] = np.nan
        if sold > 0:
            mean = ratio(sums[0, end] - sums[0, first], sold)
            out[row, 11] = max(ratio(sums[1, end] - sums[1, first], sold) / (mean * mean) - 1, 0.0)


@kernel
def _count_sales(sales: Matrix, s: int, sold_days: npt.NDArray[np.int64]) -> None:
    """Fill `sold_days` (T + 1,) with the number of days with a sale before each day."""
    sold_days[0] = 0
    for d in range(sales.shape[1]):
        sold_days[d + 1] = sold_days[d] + (sales[s, d] > 0)


@kernel
def _runs(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    since, longest = np.nan, np.nan
    last_s, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], origin[row]
        if s != last_s or o != last_o:
            since, longest = _zeros(sales, s, o, max(release[s], 0))
            last_s, last_o = s, o
        out[row, 8] = since
        out[row, 9] = longest
        out[row, 12] = since / out[row, 10]
        out[row, 13] = (1.0 - out[row, 3]) ** since if since == since else np.nan


@kernel
def _zeros(sales: Matrix, s: int, o: int, start: int) -> tuple[float, float]:
    """Return the days since the last sale within a year, and the longest run of zeros in the last 91 days."""
    if o < start:
        return np.nan, np.nan
    since = np.nan
    for d in range(o, max(start, o - YEAR + 1) - 1, -1):
        if sales[s, d] > 0:
            since = np.float64(o - d)
            break
    longest, run = 0, 0
    for d in range(max(start, o - 90), o + 1):
        run = 0 if sales[s, d] > 0 else run + 1
        longest = max(longest, run)
    return since, np.float64(longest)
