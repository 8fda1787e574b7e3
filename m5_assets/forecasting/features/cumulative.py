"""Cumulative sums, from which kernels read the sum over any window as a difference.

Units are whole numbers, so the sums are exact and a window's value depends on its own days alone. Rows are in the order
of series, so a kernel computes a series' sums once for all of its rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.features.base import Matrix, kernel

Sums = npt.NDArray[np.float64]

LONGEST = 364
"""Longest window, in days, that `mean_of` and `deviation_of` support."""
_DAYS = np.arange(LONGEST + 1.0)
with np.errstate(divide="ignore"):  # tables, as multiplying costs a fifth of dividing
    _ONE_OVER = np.where(_DAYS > 0, 1 / _DAYS, np.nan)
    _ONE_OVER_PAIRS = np.where(_DAYS > 1, 1 / (_DAYS * (_DAYS - 1)), np.nan)


@kernel
def accumulate(values: Matrix, row: int, start: int, sums: Sums) -> None:
    """Fill `sums` with the cumulative sums of powers of a row's units.

    Args:
        values: (N, T) units.
        row: the series.
        start: the first day that counts; may be after the last day.
        sums: (P, T + 1) output, P at most 3: sums[p - 1, d] is the sum of y**p over the days from `start` to d - 1,
            and zero up to `start`.
    """
    days, powers = values.shape[1], len(sums)
    sums[:, :start] = 0.0  # an empty window reads these; leftover memory would end up in the bits of its NaN
    first = second = third = 0.0
    for day in range(start, days):  # one loop, as the three additions are independent of each other
        y = np.float64(values[row, day])
        sums[0, day] = first
        first += y
        if powers > 1:
            sums[1, day] = second
            second += y * y
        if powers > 2:
            sums[2, day] = third
            third += y * y * y
    sums[0, days] = first
    if powers > 1:
        sums[1, days] = second
    if powers > 2:
        sums[2, days] = third


@kernel
def known_days(origin: int, start: int, window: int) -> int:
    """Return how many days of the window that ends at the origin are not before `start`."""
    return max(min(window, origin + 1 - start), 0)


@kernel
def mean_of(n: int, total: float) -> float:
    """Return the mean of n values (at most `LONGEST`) from their sum; NaN if n is 0."""
    mean: float = total * _ONE_OVER[n]
    return mean


@kernel
def deviation_of(n: int, total: float, square: float) -> float:
    """Return the standard deviation (n - 1) of n units from their sum and sum of squares; NaN if n is below 2.

    Units are whole numbers, so n Σy² - (Σy)² is exact, and the deviation of a constant is exactly zero.
    """
    deviation: float = np.sqrt((n * square - total * total) * _ONE_OVER_PAIRS[n])
    return deviation


@kernel
def mean_between(sums: Sums, row: int, first: int, last: int) -> float:
    """Return the mean over the days first..last (inclusive); NaN if the window is empty or starts before the panel.

    Args:
        sums: (rows, T + 1) cumulative sums, as `group_sums` returns them.
        row: the row of `sums`.
        first: the window's first day.
        last: the window's last day.
    """
    if first < 0 or last < first:
        return np.nan
    mean: float = (sums[row, last + 1] - sums[row, first]) / (last - first + 1)
    return mean


def group_sums(totals: Matrix) -> Sums:
    """Return (groups, T + 1) the sum of each group's units before each day."""
    sums = np.zeros((len(totals), totals.shape[1] + 1))
    np.cumsum(totals, axis=1, dtype=np.float64, out=sums[:, 1:])
    return sums
