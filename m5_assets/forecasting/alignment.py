"""Alignment of items' forecasts to forecasts of their store-departments' totals: top-down proportions, day by day.

Here: the scaling. Not here: the totals' own models (`totals`) and the blend of the items' models (`ensemble`).

Source: "forecast proportions" of Athanasopoulos, Ahmed & Hyndman, "Hierarchical forecasts for Australian domestic
tourism", International Journal of Forecasting 25 (2009), from store-department to item.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def align(
    units: npt.NDArray[np.floating],
    groups: npt.NDArray[np.integer],
    totals: npt.NDArray[np.floating],
    strength: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Scale every store-department's items on each day, so that they sum to the total.

    A group's day without any forecast units stays zero, whatever its total: nothing says which item would sell.

    Args:
        units: (N, H) units a day of the items, not negative.
        groups: (N,) the row of `totals` that each item belongs to.
        totals: (G, H) units a day of the store-departments, not negative.
        strength: 1 sums to the totals, 0 leaves the items alone; between, the sum is the weighted geometric mean of
            the two, sum^(1 - strength) x total^strength.

    Returns:
        (N, H) units, not negative.

    Raises:
        ValueError: shapes that do not match, a group that is not there, numbers that are negative or not finite, or a
            strength outside 0 to 1.
    """
    _check(units, groups, totals, strength)
    sums = np.zeros(totals.shape)
    np.add.at(sums, groups, units.astype(np.float64))
    ratio = np.divide(totals, sums, out=np.zeros(totals.shape), where=sums > 0)
    return np.asarray(units * (ratio**strength)[groups], np.float32)


def _check(
    units: npt.NDArray[np.floating],
    groups: npt.NDArray[np.integer],
    totals: npt.NDArray[np.floating],
    strength: float,
) -> None:
    if units.ndim != 2 or groups.shape != units.shape[:1] or totals.shape[1:] != units.shape[1:]:
        raise ValueError(
            f"alignment: units {units.shape}, groups {groups.shape} and totals {totals.shape} do not fit; "
            "expected (N, H), (N,) and (G, H)"
        )
    if len(groups) and not (groups.min() >= 0 and groups.max() < len(totals)):
        raise ValueError(f"alignment: groups must lie from 0 to {len(totals) - 1}, the rows of the totals")
    for name, values in (("units", units), ("totals", totals)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(f"alignment: {name} hold a number that is negative or not finite")
    if not 0 <= strength <= 1:
        raise ValueError(f"alignment: strength must lie from 0 to 1; found {strength}")
