"""Sums from a first day to any day: what a window sold is the difference of two of them.

Units are whole numbers, so that the sums are exact, in any order, and a window's value depends on its own days alone.
Rows come in the order of series, so that a kernel makes a series' sums once and reads them for all of its rows.

Here: the sums of a series, and of the groups. Not here: any feature.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.features.base import Matrix, kernel

Sums = npt.NDArray[np.float64]

LONGEST = 364
"""Days of the longest window that `mean_of` and `deviation_of` are asked for."""
_DAYS = np.arange(LONGEST + 1.0)
with np.errstate(divide="ignore"):  # tables, as a product costs a fifth of a division
    _ONE_OVER = np.where(_DAYS > 0, 1 / _DAYS, np.nan)
    _ONE_OVER_PAIRS = np.where(_DAYS > 1, 1 / (_DAYS * (_DAYS - 1)), np.nan)


@kernel
def accumulate(values: Matrix, row: int, start: int, sums: Sums) -> None:
    """Sum the powers of a row's units.

    Args:
        values: (N, T) units.
        row: the series.
        start: the first day that counts; it may lie after the last one.
        sums: (P, T + 1), P at most 3, filled: sums[p - 1, d] is the sum of y**p over the days from `start` to d - 1,
            zero up to `start`.
    """
    days, powers = values.shape[1], len(sums)
    sums[:, :start] = 0.0  # a window of no days reads them, and what memory held would be in the bits of its NaN
    first = second = third = 0.0
    for day in range(start, days):  # one loop, as the three additions do not wait for each other
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
    """Return how many of the window's days, which end at the origin, are not before `start`."""
    return max(min(window, origin + 1 - start), 0)


@kernel
def mean_of(n: int, total: float) -> float:
    """Return the mean of n values, `LONGEST` at most, from their sum; NaN for none."""
    mean: float = total * _ONE_OVER[n]
    return mean


@kernel
def deviation_of(n: int, total: float, square: float) -> float:
    """Return the standard deviation (n - 1) of n units from the sums of them and of their squares; NaN below two.

    Units are whole numbers, so that n Σy² - (Σy)² is exact: a constant's deviation is zero, not what rounding left.
    """
    deviation: float = np.sqrt((n * square - total * total) * _ONE_OVER_PAIRS[n])
    return deviation


@kernel
def mean_between(sums: Sums, row: int, first: int, last: int) -> float:
    """Return the mean of the days first..last (inclusive), and NaN for a window that starts before the panel.

    `sums` is of all rows, as `group_sums` returns it.
    """
    if first < 0 or last < first:
        return np.nan
    mean: float = (sums[row, last + 1] - sums[row, first]) / (last - first + 1)
    return mean


def group_sums(totals: Matrix) -> Sums:
    """Return (groups, T + 1) sums of the groups' units before each day."""
    sums = np.zeros((len(totals), totals.shape[1] + 1))
    np.cumsum(totals, axis=1, dtype=np.float64, out=sums[:, 1:])
    return sums
