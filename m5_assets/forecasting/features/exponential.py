"""Exponentially weighted means of the sales over the 364 days up to the origin."""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context

ALPHAS = (0.05, 0.1, 0.3)
_DAYS = 364

FEATURES = describe(
    "exponential",
    "origin",
    *(
        (f"ewm_mean_{int(100 * a):02d}", "units/day", f"exponential mean of y up to o, weight (1 - {a})**age, 364 days")
        for a in ALPHAS
    ),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features); missing before the release."""
    _means(context.sales, context.release, rows.series, rows.origin, out)


@kernel
def _means(sales: Matrix, release: Integers, series: Integers, origin: Integers, out: Matrix) -> None:
    totals, weights, fading = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
    last_s, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], origin[row]
        if s == last_s and o == last_o:
            out[row] = out[row - 1]
            continue
        totals[:], weights[:], fading[:] = 0.0, 0.0, 1.0
        for day in range(o, max(release[s], 0, o - _DAYS + 1) - 1, -1):
            for a in range(len(ALPHAS)):
                totals[a] += fading[a] * sales[s, day]
                weights[a] += fading[a]
                fading[a] *= 1 - ALPHAS[a]
        for a in range(len(ALPHAS)):
            out[row, a] = ratio(totals[a], weights[a])
        last_s, last_o = s, o
