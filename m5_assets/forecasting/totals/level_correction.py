"""The level correction: half of the bias that a model trained without the last 16 weeks has in those weeks.

All members lag behind a general growth of sales, so their mean does too, and half of the recent bias persists. This was
measured at 20 origins of the M5 data: four weeks apart in the last year, when sales grew (the correction improves these
13 taken together), and eight weeks apart in the two years before, when they did not (it changes little). The bias is
the median of four rehearsals, because one of them may include Christmas. One factor serves all: factors by store,
category or department brought no further gain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.daily_totals import TotalsHistory

REHEARSAL_DAYS = 4 * HORIZON
"""Days before the origin that are rehearsed, 28 days at a time."""
SHARE = 0.5
"""Share of the bias, as a logarithm, to correct."""
BOUND = 1.05
"""Strongest correction, as a factor: larger shifts are for the members to learn."""


def correction(history: TotalsHistory, forecast: Callable[[TotalsHistory], npt.NDArray[np.float32]]) -> float:
    """Return the factor to apply to forecasts after the history; 1 if a rehearsal has no sales or no forecast.

    Args:
        history: totals up to the origin.
        forecast: function from a history up to an earlier origin to its forecast, (G, 28) daily units, by a model
            trained without the last `REHEARSAL_DAYS` before this origin.
    """
    ratios = []
    for back in range(REHEARSAL_DAYS, 0, -HORIZON):
        first = history.days - back
        sold = history.units[:, first : first + HORIZON].sum(dtype=np.float64)
        expected = forecast(history.rewind(back)).sum(dtype=np.float64)
        if sold <= 0 or expected <= 0:
            return 1.0
        ratios.append(sold / expected)
    return float(np.clip(np.median(ratios) ** SHARE, 1 / BOUND, BOUND))
