"""Rolling skewness of the sales: how far rare days with large sales stand out.

Windows end at the origin and are cut at the release and at the panel's first day.
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import accumulate, known_days
from m5_assets.forecasting.features.rolling import COUNT, WINDOWS

FEATURES = describe(
    "skewness",
    "origin",
    *((f"rolling_skew_{w}", "1", f"bias-corrected skewness of y over the {w} days up to o") for w in WINDOWS),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    _skewness(context.sales, context.release, rows.series, rows.origin, out)


@kernel
def _skewness(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    sums = np.empty((3, sales.shape[1] + 1))
    last, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], origin[row]
        start = max(release[s], 0)
        if s == last and o == last_o:
            out[row] = out[row - 1]
            continue
        if s != last:
            accumulate(sales, s, start, sums)
        last, last_o = s, o
        for window in range(COUNT):
            n = known_days(o, start, WINDOWS[window])
            first, end = o + 1 - n, o + 1
            s1, s2 = sums[0, end] - sums[0, first], sums[1, end] - sums[1, first]
            out[row, window] = _adjusted(np.float64(n), s1, s2, sums[2, end] - sums[2, first])


@kernel
def _adjusted(n: float, s1: float, s2: float, s3: float) -> float:
    """Return the adjusted Fisher-Pearson skewness from the sums of three powers; NaN for a constant."""
    if n < 3:
        return np.nan
    mean = s1 / n
    m2 = max(s2 / n - mean * mean, 0.0)
    # The sums are exact whole numbers, so only rounding of the mean can make a constant series' variance non-zero.
    if m2 <= 1e-12 * max(mean * mean, 1e-12):
        return np.nan
    m3 = s3 / n - 3 * mean * s2 / n + 2 * mean**3
    skewness: float = m3 / m2**1.5 * np.sqrt(n * (n - 1.0)) / (n - 2)
    return skewness
