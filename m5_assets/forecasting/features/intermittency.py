"""Zeros: how often the series sells, how long it has not, and how surprising that is.

Here: the demand's intermittency up to the origin, after Syntetos and Boylan (2005), "The accuracy of intermittent
demand estimates": mean interval between sales (ADI) and squared coefficient of variation of the sizes. Not here:
moments of all days (`rolling`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context

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
    for row in range(len(series)):
        s, o = series[row], origin[row]
        length = o + 1 - max(release[s], 0)
        n, sold, window = 0, 0, 0
        s1, s2 = 0.0, 0.0
        while window < len(WINDOWS):
            while n < min(WINDOWS[window], length):
                y = sales[s, o - n]
                sold += y > 0
                s1 += y
                s2 += y * y
                n += 1
            out[row, window] = ratio(sold, n)
            out[row, 4 + window] = ratio(s1, sold)
            window += 1
        out[row, 10] = ratio(n, sold)
        mean = ratio(s1, sold)
        out[row, 11] = max(ratio(s2, sold) / (mean * mean) - 1, 0.0) if sold > 0 else np.nan


@kernel
def _runs(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    for row in range(len(series)):
        s, o = series[row], origin[row]
        start = max(release[s], 0)
        since = np.nan
        for d in range(o, max(start, o - YEAR + 1) - 1, -1):
            if sales[s, d] > 0:
                since = o - d
                break
        longest, run = 0, 0
        for d in range(max(start, o - 90), o + 1):
            run = 0 if sales[s, d] > 0 else run + 1
            longest = max(longest, run)
        out[row, 8] = since
        out[row, 9] = longest if o >= start else np.nan
        out[row, 12] = since / out[row, 10]
        out[row, 13] = (1.0 - out[row, 3]) ** since if since == since else np.nan
