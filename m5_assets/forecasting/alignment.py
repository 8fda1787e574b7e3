"""Scales item forecasts so that they add up to the forecast totals of their store-departments.

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
    """Scale the items of each store-department, day by day, towards their total.

    A day on which a group's items are all forecast as zero stays zero, whatever its total: nothing says which item
    would sell.

    Args:
        units: (N, H) daily units of the items, not negative.
        groups: (N,) the row of `totals` that each item belongs to.
        totals: (G, H) daily units of the store-departments, not negative.
        strength: with 1 the items add up to the totals, with 0 they stay as they are; in between, their sum becomes
            the weighted geometric mean of both, sum^(1 - strength) x total^strength.

    Returns:
        (N, H) units, not negative.

    Raises:
        ValueError: shapes do not match, a group does not exist, a number is negative or not finite, or `strength` is
            outside 0 to 1.
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
            f"alignment: units {units.shape}, groups {groups.shape} and totals {totals.shape} do not match; "
            "expected (N, H), (N,) and (G, H)"
        )
    if len(groups) and not (groups.min() >= 0 and groups.max() < len(totals)):
        raise ValueError(f"alignment: groups must be from 0 to {len(totals) - 1}, the rows of the totals")
    for name, values in (("units", units), ("totals", totals)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(f"alignment: {name} contain a number that is negative or not finite")
    if not 0 <= strength <= 1:
        raise ValueError(f"alignment: strength must be from 0 to 1; found {strength}")
