"""Sums over windows that end at the origin, carried from one row to the next.

Rows come in the order of series and days, so that a window mostly lies one day after the last row's, or is the same.
Units are whole numbers, so that sums are exact and the result does not depend on which rows came before.

Here: what `rolling` and `skewness` share. Not here: any feature.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.features.base import Matrix, kernel

WINDOWS = (7, 14, 28, 56, 91, 182, 364)
"""Days of the windows."""
COUNT = len(WINDOWS)

Sums = npt.NDArray[np.float64]


@kernel
def advance(sales: Matrix, s: int, o: int, start: int, slides: bool, sums: Sums) -> None:
    """Bring the sums of a series' windows to the origin `o`.

    Args:
        sales: units, by series and day.
        s: the series.
        o: the origin, the last day of every window.
        start: the first day that counts; windows are cut there.
        slides: the sums are those of the same series at `o - 1`; else they are computed from nothing.
        sums: (4, COUNT) number of days, sums of y, y² and y³, changed in place.
    """
    if slides:
        if o >= start:
            for window in range(COUNT):
                _count(sales[s, o], 1.0, window, sums)
                if o - WINDOWS[window] >= start:
                    _count(sales[s, o - WINDOWS[window]], -1.0, window, sums)
        return
    sums[:] = 0.0
    day = o
    for window in range(COUNT):
        if window > 0:
            sums[:, window] = sums[:, window - 1]
        while day > o - WINDOWS[window] and day >= start:
            _count(sales[s, day], 1.0, window, sums)
            day -= 1


@kernel
def _count(units: float, sign: float, window: int, sums: Sums) -> None:
    y = np.float64(units)
    sums[0, window] += sign
    sums[1, window] += sign * y
    sums[2, window] += sign * y * y
    sums[3, window] += sign * y * y * y
