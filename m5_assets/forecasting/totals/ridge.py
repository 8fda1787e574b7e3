"""A ridge regression of each aggregate's log sales on the calendar, reconciled to the store-departments.

Each aggregate of levels 1 to 9 is forecast on its own; large ones are smooth and show events and seasons clearly.
Weighted least squares then finds the store-department forecasts whose sums are closest to all of these (Hyndman &
Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., section 11.3).
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.closed_days import Flags
from m5_assets.forecasting.hierarchy import Floats
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals import special_days
from m5_assets.forecasting.totals.daily_totals import TotalsHistory

WINDOWS = (546, 1092, 2184)
"""Days of history in each fit, whose forecasts are averaged. A short one follows changes, a long one covers years."""
PENALTY = 1.0
"""Ridge penalty: the weight of squared coefficients relative to one day's squared error."""
SMOOTHING = 0.09
"""Exponential decay of the recent level's weights: each day counts (1 - SMOOTHING) times as much as the next."""
MIN_YEARLY = 728
"""Days of history needed to tell season from trend."""
LEVELS = 9
"""Levels of the hierarchy above the items."""
FLOOR = 0.5
"""Units that replace zero before taking the logarithm."""
CEILING = 1.5
"""Upper limit of forecasts, as a multiple of the best day so far: a short history may confuse events."""
CLOSED_SHARE = 0.01
"""Share of an aggregate's units that closed stores usually sell, from which on a day says nothing about the others."""


def forecast(history: TotalsHistory) -> npt.NDArray[np.float32]:
    """Fit the ridge on the history and return (G, 28) daily units; zero where the store is closed."""
    hierarchy = history.hierarchy()
    summing = hierarchy.summing[: hierarchy.offsets[LEVELS]].toarray()
    sums = summing @ history.units.astype(np.float64)
    windows = [window for place, window in enumerate(WINDOWS) if place == 0 or window // 2 < history.days]
    design = special_days.common(history, yearly=history.days >= MIN_YEARLY)
    forecasts = np.zeros((len(sums), HORIZON))
    closed = history.closed()
    normal = _normal_days(history, closed, summing)
    for states, rows in _by_states(history, summing):
        regressors = np.column_stack([design, *(special_days.snap_weekdays(history, state) for state in states)])
        for days, some in _by_days(normal[rows], rows):
            members = [_fit(sums[some], regressors, days, window) for window in windows]
            forecasts[some] = np.mean(members, axis=0)
    units = reconcile(forecasts, summing, sums[:, -364:].mean(axis=1))
    units[closed[:, history.days :]] = 0
    return units.astype(np.float32)


def reconcile(forecasts: Floats, summing: Floats, size: Floats) -> Floats:
    """Return (G, 28) the bottom forecasts closest to those of all aggregates, clipped at zero.

    Args:
        forecasts: (A, 28) forecasts of the aggregates.
        summing: (A, G) matrix of zeros and ones; its last rows may be the bottom groups themselves.
        size: (A,) mean units of the aggregates; the standard deviations of their errors are taken as proportional.
    """
    precision = 1 / np.maximum(size, FLOOR) ** 2
    normal = (summing.T * precision) @ summing
    bottom: Floats = np.maximum(np.linalg.solve(normal, (summing.T * precision) @ forecasts), 0)
    return bottom


def _by_states(history: TotalsHistory, summing: Floats) -> list[tuple[tuple[str, ...], list[int]]]:
    """Group the aggregates by the states they sell in; aggregates of the same states share their SNAP days."""
    state = history.groups["state_id"].to_numpy(str)
    known = set(history.states)
    keys = [tuple(sorted(known & set(state[row > 0]))) for row in summing]
    order = sorted(range(len(keys)), key=lambda row: keys[row])
    return [(key, list(rows)) for key, rows in groupby(order, key=lambda row: keys[row])]


def _normal_days(history: TotalsHistory, closed: Flags, summing: Floats) -> Flags:
    """Return (A, T) the days to fit each aggregate on: those on which hardly any of its stores were closed."""
    usual = np.maximum(history.units.mean(axis=1, dtype=np.float64), FLOOR)
    missing = summing @ (closed[:, : history.days] * usual[:, None])
    normal: Flags = missing <= CLOSED_SHARE * (summing @ usual)[:, None]
    return normal


def _by_days(normal: Flags, rows: list[int]) -> list[tuple[Flags, list[int]]]:
    """Group aggregates by the days that they are fitted on."""
    patterns, place = np.unique(normal, axis=0, return_inverse=True)
    members: list[list[int]] = [[] for _ in patterns]
    for row, code in zip(rows, place.reshape(-1).tolist(), strict=True):
        members[code].append(row)
    return list(zip(patterns, members, strict=True))


def _fit(sums: Floats, regressors: Floats, normal: Flags, window: int) -> Floats:
    """Return (A, 28) forecasts, as if all stores were open, of aggregates that share their regressors and normal days.

    They are fitted on the normal days among the last `window` days.
    """
    days = len(normal)
    rows = np.flatnonzero(normal)
    rows = rows[rows >= days - window]
    known = regressors[rows]
    units = sums[:, rows].T
    target = np.log(np.maximum(units, FLOOR))
    centre = target.mean(axis=0)
    coefficients = np.linalg.solve(known.T @ known + PENALTY * np.eye(known.shape[1]), known.T @ (target - centre))
    weight = (1 - SMOOTHING) ** (days - 1 - rows)
    fitted = np.exp(known @ coefficients + centre)
    level = (weight @ units) / (weight @ fitted)
    ahead: Floats = np.exp(regressors[days:] @ coefficients + centre) * level
    capped: Floats = np.minimum(ahead, CEILING * units.max(axis=0)).T
    return capped
