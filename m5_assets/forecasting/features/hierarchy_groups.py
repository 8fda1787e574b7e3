"""Levels and trends of the groups above the series, and the series' shares in them.

Not here: the groups' weekday and yearly profiles (`season`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import Sums, accumulate, known_days, mean_between

WINDOWS = (7, 28, 91)
MEANS = ("item", "item_state", "store_dept")
RATIOS = ("item", "item_state", "store_dept", "store_cat", "state_dept", "store", "dept", "total")
SHARES = ("item", "item_state", "store_dept")

FEATURES = describe(
    "hierarchy",
    "origin",
    *(
        (f"{g}_mean_{w}", "units/day", f"mean of the {g}'s total over the {w} days up to o")
        for g in MEANS
        for w in WINDOWS
    ),
    *((f"{g}_ratio_7_28", "ratio", f"the {g}'s mean over 7 days ÷ over 28 days up to o") for g in RATIOS),
    *((f"{g}_ratio_28_91", "ratio", f"the {g}'s mean over 28 days ÷ over 91 days up to o") for g in RATIOS),
    *((f"share_of_{g}_28", "share", f"the series' share of its {g} over the 28 days up to o") for g in SHARES),
    *((f"share_of_{g}_91", "share", f"the series' share of its {g} over the 91 days up to o") for g in SHARES),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    origin = rows.origin
    means = {g: _window_means(context.sums[g], context.codes[g][rows.series], origin) for g in RATIOS}
    own = _own_means(context.sales, rows.series, origin)
    columns = [means[g][:, w] for g in MEANS for w in range(len(WINDOWS))]
    columns += [_divide(means[g][:, 0], means[g][:, 1]) for g in RATIOS]
    columns += [_divide(means[g][:, 1], means[g][:, 2]) for g in RATIOS]
    columns += [_divide(own[:, 1], means[g][:, 1]) for g in SHARES]
    columns += [_divide(own[:, 2], means[g][:, 2]) for g in SHARES]
    for column, values in enumerate(columns):
        out[:, column] = values


def _divide(numerator: Sums, denominator: Sums) -> Sums:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


@kernel
def _window_means(sums: Sums, group: Integers, origin: Integers) -> Sums:
    """Return (rows, windows) means over the days up to the origin; a window is cut at the panel's first day."""
    means = np.empty((len(group), len(WINDOWS)))
    for row in range(len(group)):
        for window in range(len(WINDOWS)):
            days = known_days(origin[row], 0, WINDOWS[window])
            means[row, window] = mean_between(sums, group[row], origin[row] + 1 - days, origin[row])
    return means


@kernel
def _own_means(sales: Matrix, series: Integers, origin: Integers) -> Sums:
    """Return the same as `_window_means` for the series themselves."""
    means = np.empty((len(series), len(WINDOWS)))
    sums = np.empty((1, sales.shape[1] + 1))
    last = -1
    for row in range(len(series)):
        if series[row] != last:
            last = series[row]
            accumulate(sales, last, 0, sums)
        for window in range(len(WINDOWS)):
            days = known_days(origin[row], 0, WINDOWS[window])
            means[row, window] = mean_between(sums, 0, origin[row] + 1 - days, origin[row])
    return means
