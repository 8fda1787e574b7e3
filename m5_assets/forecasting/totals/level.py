"""The level: what a model that has not seen the last weeks misses in them, and half of it as a correction.

Here: the rehearsal and the factor that follows from it. Not here: the model that rehearses (`model`).

All members follow a growth of all sales together late, each in its own way, so that their mean misses it too. What was
missed lately tells half of what will be missed: measured at 20 origins of the M5 data, four weeks apart in the last
year (where sales grew, and all 13 together gain) and eight in the two before (where they did not, and little changes).
The median of four rehearsals, because one of them may hold a Christmas. One factor for everything: factors by store,
category or department gained nothing more there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.daily_totals import TotalsHistory

REHEARSAL_DAYS = 4 * HORIZON
"""Days before the origin that are rehearsed, four weeks at a time."""
SHARE = 0.5
"""How much of what was missed is corrected."""
BOUND = 1.05
"""No correction is stronger: an upheaval is the members' to learn, not a bias."""


def correction(history: TotalsHistory, forecast: Callable[[TotalsHistory], npt.NDArray[np.float32]]) -> float:
    """Return the factor to multiply a forecast after the history by; 1 where nothing was sold or forecast.

    Args:
        history: up to the origin.
        forecast: (G, 28) units after a history up to an earlier origin, by a model that has not seen later days than
            `REHEARSAL_DAYS` before this one.
    """
    missed = []
    for back in range(REHEARSAL_DAYS, 0, -HORIZON):
        first = history.days - back
        sold = history.units[:, first : first + HORIZON].sum(dtype=np.float64)
        expected = forecast(history.rewind(back)).sum(dtype=np.float64)
        if sold <= 0 or expected <= 0:
            return 1.0
        missed.append(sold / expected)
    return float(np.clip(np.median(missed) ** SHARE, 1 / BOUND, BOUND))
