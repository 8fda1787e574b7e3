"""Weekly and yearly profiles of the series' groups: a weekday's or a season's sales relative to the level at the time.

Not here: the series' own weekdays (`weekday`).
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
from m5_assets.forecasting.features.cumulative import Sums, accumulate, mean_between

PROFILES = (("store_dept", 4), ("store_dept", 8), ("store", 8), ("item", 8), ("item_state", 13))
YEAR = 364
YEARS = (("store_dept", 1), ("store_dept", 2), ("dept", 1), ("item", 1))

FEATURES = describe(
    "season",
    "origin",
    *(
        (f"{g}_weekday_profile_{w}", "ratio", f"the {g}'s mean on t's weekday ÷ its mean, {w} weeks up to o")
        for g, w in PROFILES
    ),
    *(
        feature
        for g, y in YEARS
        for feature in (
            (
                f"{g}_year_index_{y}",
                "ratio",
                f"the {g}'s mean of the 7 days around t - {YEAR * y} ÷ of the 28 days up to o - {YEAR * y}",
            ),
            (
                f"{g}_year_day_{y}",
                "ratio",
                f"the {g}'s total of t - {YEAR * y} ÷ mean of the 28 days up to o - {YEAR * y}",
            ),
            (f"{g}_year_growth_{y}", "ratio", f"the {g}'s mean of the 28 days up to o ÷ up to o - {YEAR * y}"),
        )
    ),
    ("last_year_mean_28", "units/day", f"mean of y over the 28 days around t - {YEAR}"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    for column, (level, weeks) in enumerate(PROFILES):
        group = context.codes[level][rows.series]
        _profile(context.totals[level], context.sums[level], group, rows.day, rows.horizon, weeks, out[:, column])
    column = len(PROFILES)
    for level, years in YEARS:
        group = context.codes[level][rows.series]
        _year(context.sums[level], group, rows.day, rows.origin, YEAR * years, out[:, column : column + 3])
        column += 3
    _around(context.sales, rows.series, rows.day - YEAR, out[:, column])


@kernel
def _profile(
    total: Matrix, sums: Sums, group: Integers, day: Integers, horizon: Integers, weeks: int, out: Vector
) -> None:
    for row in range(len(group)):
        g, o = group[row], day[row] - horizon[row]
        latest = latest_same_weekday(day[row], horizon[row])
        same, n = 0.0, 0
        while n < weeks and latest - 7 * n >= 0:
            same += total[g, latest - 7 * n]
            n += 1
        out[row] = ratio(ratio(same, n), mean_between(sums, g, max(o - 7 * weeks + 1, 0), o))


@kernel
def _year(sums: Sums, group: Integers, day: Integers, origin: Integers, back: int, out: Matrix) -> None:
    for row in range(len(group)):
        g, t, o = group[row], day[row] - back, origin[row] - back
        level = mean_between(sums, g, o - 27, o)
        out[row, 0] = ratio(mean_between(sums, g, t - 3, t + 3), level)
        out[row, 1] = ratio(mean_between(sums, g, t, t), level)
        out[row, 2] = ratio(mean_between(sums, g, o + back - 27, o + back), level)


@kernel
def _around(sales: Matrix, series: Integers, centre: Integers, out: Vector) -> None:
    sums = np.empty((1, sales.shape[1] + 1))
    last = -1
    for row in range(len(series)):
        if series[row] != last:
            last = series[row]
            accumulate(sales, last, 0, sums)
        out[row] = mean_between(sums, 0, centre[row] - 14, centre[row] + 13)
