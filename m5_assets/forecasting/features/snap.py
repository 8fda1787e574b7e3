"""SNAP days of the state (days when food stamps are paid out), and how much more the series sells on them."""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, Vector, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.cumulative import Sums
from m5_assets.forecasting.panel import HORIZON

LIFT_WINDOW = 91

FEATURES = (
    *describe(
        "snap",
        "horizon",
        ("snap", "flag", "t is a SNAP day of the state"),
        ("snap_previous_day", "flag", "t - 1 is a SNAP day of the state"),
        ("snap_next_day", "flag", "t + 1 is a SNAP day of the state, if at most 28 days after o"),
        ("snap_share_7", "share", "share of SNAP days in t - 6 .. t"),
        ("snap_share_28", "share", "share of SNAP days in t - 27 .. t"),
        ("days_since_snap", "days", "days since the last SNAP day up to t, 0 on a SNAP day"),
        ("snap_days_before", "days", "SNAP days in t - 14 .. t - 1: how far this month's payout has progressed"),
        ("snap_states", "states", "states with a SNAP day on t"),
    ),
    *describe(
        "snap",
        "origin",
        ("snap_lift_91", "ratio", "mean sales on SNAP days ÷ on other days, 91 days up to o"),
        ("store_dept_snap_lift_91", "ratio", "the same for the store's department"),
    ),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    state = context.codes["state"][rows.series]
    origin = rows.origin
    _days(context.snap, state, rows.day, origin, out)
    out[:, 7] = context.snap.sum(axis=0)[rows.day]
    _lift(context.sales, rows.series, context.snap, state, origin, out[:, 8])
    group = context.codes["store_dept"][rows.series]
    _lift(context.totals["store_dept"], group, context.snap, state, origin, out[:, 9])


@kernel
def _days(snap: Matrix, state: Integers, day: Integers, origin: Integers, out: Matrix) -> None:
    for row in range(len(day)):
        s, t = state[row], day[row]
        out[row, 0] = snap[s, t]
        out[row, 1] = snap[s, t - 1] if t > 0 else np.nan
        out[row, 2] = snap[s, t + 1] if t < origin[row] + HORIZON else np.nan
        out[row, 5] = np.nan
        count = 0.0
        for k in range(min(28, t + 1)):
            if snap[s, t - k] > 0 and count == 0:
                out[row, 5] = k
            count += snap[s, t - k]
            if k == 6:
                out[row, 3] = count / 7
            if k == 14:
                out[row, 6] = count - snap[s, t]
        if t < 6:
            out[row, 3] = np.nan
        if t < 14:
            out[row, 6] = np.nan
        out[row, 4] = count / 28 if t >= 27 else np.nan


@kernel
def _lift(sales: Matrix, group: Integers, snap: Matrix, state: Integers, origin: Integers, out: Vector) -> None:
    sums = np.empty((3, sales.shape[1] + 1))  # units, units on SNAP days, and SNAP days before each day
    last = -1
    for row in range(len(group)):
        g, end = group[row], origin[row] + 1
        if g != last:
            _accumulate(sales, g, snap, state[row], sums)
            last = g
        first = max(end - LIFT_WINDOW, 0)
        total, snap_total = sums[0, end] - sums[0, first], sums[1, end] - sums[1, first]
        snap_days = sums[2, end] - sums[2, first]
        out[row] = ratio(ratio(snap_total, snap_days), ratio(total - snap_total, end - first - snap_days))


@kernel
def _accumulate(sales: Matrix, group: int, snap: Matrix, state: int, sums: Sums) -> None:
    sums[:, 0] = 0.0
    for d in range(sales.shape[1]):
        y, paid = np.float64(sales[group, d]), np.float64(snap[state, d])
        sums[0, d + 1] = sums[0, d] + y
        sums[1, d + 1] = sums[1, d] + y * paid
        sums[2, d + 1] = sums[2, d] + paid
