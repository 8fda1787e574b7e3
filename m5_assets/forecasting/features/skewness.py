"""Skewness of the sales of the last days: how far rare large days stand out.

Here: windows that end at the origin, cut at the release and at the panel's first day. Not here: the lower moments
(`rolling`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.sliding import COUNT, WINDOWS, advance

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
    sums = np.zeros((4, COUNT))
    last_s, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], origin[row]
        if s == last_s and o == last_o:
            out[row] = out[row - 1]
            continue
        advance(sales, s, o, max(release[s], 0), s == last_s and o == last_o + 1, sums)
        for window in range(COUNT):
            out[row, window] = _adjusted(sums[0, window], sums[1, window], sums[2, window], sums[3, window])
        last_s, last_o = s, o


@kernel
def _adjusted(n: float, s1: float, s2: float, s3: float) -> float:
    """Return the adjusted Fisher-Pearson skewness (none of a constant) from sums."""
    if n < 3:
        return np.nan
    mean = s1 / n
    m2 = max(s2 / n - mean * mean, 0.0)
    # The sums are exact whole numbers, so what is left of a constant series is rounding of the mean alone.
    if m2 <= 1e-12 * max(mean * mean, 1e-12):
        return np.nan
    m3 = s3 / n - 3 * mean * s2 / n + 2 * mean**3
    skewness: float = m3 / m2**1.5 * np.sqrt(n * (n - 1.0)) / (n - 2)
    return skewness
