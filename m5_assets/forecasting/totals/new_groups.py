"""Forecasts of store-departments that opened in the last four weeks.

Before it opened, a group's sales are zeros, which all members take for its level. Until four weeks of sales are known,
its forecast is its mean since it opened, with the weekdays of the other groups.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.daily_totals import TotalsHistory

SHORTEST = 7
"""Fewest days in the mean: a single sale on the last day is no level yet."""


def replace_new(units: npt.NDArray[np.float32], history: TotalsHistory) -> npt.NDArray[np.float32]:
    """Return (G, 28) forecasts in which those of new groups are replaced; days forecast as zero stay zero.

    Args:
        units: (G, 28) daily units that the members forecast.
        history: totals up to the origin, at least 28 days.
    """
    recent, before = history.units[:, -HORIZON:].astype(np.float64), history.units[:, :-HORIZON]
    new: npt.NDArray[np.bool_] = np.asarray((recent.sum(axis=1) > 0) & (before.sum(axis=1) == 0))
    if not new.any():
        return units
    others = recent[~new].sum(axis=0).reshape(-1, 7).mean(axis=0)
    weekdays = others / others.mean() if others.any() else np.ones(7)
    pattern = np.tile(weekdays, HORIZON // 7)  # a day of the horizon has the weekday of four weeks before
    opened = np.minimum((recent > 0).argmax(axis=1), HORIZON - SHORTEST)
    exposure = np.array([pattern[day:].sum() for day in opened])
    level = np.divide(recent.sum(axis=1), exposure, out=np.zeros(len(recent)), where=exposure > 0)
    return np.where(new[:, None], np.outer(level, pattern) * (units > 0), units).astype(np.float32)
