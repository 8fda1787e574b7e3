"""A ridge regression of each aggregate's log sales on the calendar, reconciled to the store-departments.

Each aggregate of levels 1 to 9 is forecast on its own; large ones are smooth and show events and seasons clearly.
Weighted least squares then finds the store-department forecasts whose sums are closest to all of these (Hyndman &
Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed., section 11.3).
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import numpy.typing as npt

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


def forecast(history: TotalsHistory) -> npt.NDArray[np.float32]:
    """Fit the ridge on the history and return (G, 28) daily units; zero on 25 December."""
    hierarchy = history.hierarchy()
    summing = hierarchy.summing[: hierarchy.offsets[LEVELS]].toarray()
    sums = summing @ history.units.astype(np.float64)
    windows = [window for place, window in enumerate(WINDOWS) if place == 0 or window // 2 < history.days]
    design = special_days.common(history, yearly=history.days >= MIN_YEARLY)
    forecasts = np.zeros((len(sums), HORIZON))
    for states, rows in _by_states(history, summing):
        regressors = np.column_stack([design, *(special_days.snap_weekdays(history, state) for state in states)])
        members = [_fit(sums[rows], regressors, history, window) for window in windows]
        forecasts[rows] = np.mean(members, axis=0)
    return reconcile(forecasts, summing, sums[:, -364:].mean(axis=1)).astype(np.float32)


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


def _fit(sums: Floats, regressors: Floats, history: TotalsHistory, window: int) -> Floats:
    """Return (A, 28) forecasts of aggregates that share their regressors, fitted on the last `window` days."""
    days, closed = history.days, history.closed()
    rows = np.flatnonzero(~closed[:days])
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
    ahead[closed[days:]] = 0
    capped: Floats = np.minimum(ahead, CEILING * units.max(axis=0)).T
    return capped
