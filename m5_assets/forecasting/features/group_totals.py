"""Totals and mean prices of the hierarchy's groups: all that a series' features need to know about other series.

The stores' panels are added up one after the other, so only one is in memory. The result does not depend, to the bit,
on how the stores are divided into panels: sums of units are exact, and each sum of prices is either within one store or
has one price per store, added in store order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting.features.base import Integers, Matrix, kernel
from m5_assets.forecasting.features.cumulative import Sums, group_sums
from m5_assets.forecasting.panel import SERIES_COLUMNS, Panel

GROUPS: dict[str, tuple[str, ...]] = {
    "total": (),
    "state": ("state_id",),
    "store": ("store_id",),
    "cat": ("cat_id",),
    "dept": ("dept_id",),
    "state_dept": ("state_id", "dept_id"),
    "store_cat": ("store_id", "cat_id"),
    "store_dept": ("store_id", "dept_id"),
    "item": ("item_id",),
    "item_state": ("item_id", "state_id"),
}
"""Levels of the hierarchy above the series, and the columns that identify their groups."""

PRICED = ("store_dept", "store_cat", "item")
"""Levels that have a mean price."""

Keys = list[tuple[str, ...]]


@dataclass(frozen=True)
class Aggregates:
    """Aggregates of all series, over T known days and the 28 days after them.

    Attributes:
        keys: for each level of `GROUPS`, the sorted keys of its groups.
        totals: for each level, (groups, T) daily units sold by the group.
        sums: for each level, (groups, T + 1) units sold by the group before each day.
        mean_price: for each level of `PRICED`, (groups, T + 28) mean price of the series on offer.
        offered: (items, T + 28) number of stores that offer the item.
    """

    keys: dict[str, Keys]
    totals: dict[str, Matrix]
    sums: dict[str, Sums]
    mean_price: dict[str, Matrix]
    offered: Matrix

    @classmethod
    def of(cls, panels: Iterable[Panel]) -> Aggregates:
        """Add up panels of whole stores, in the order of their names; memory grows only with the number of groups."""
        units = {level: _Sums() for level in GROUPS}
        prices = {level: _Sums() for level in PRICED}
        counts = {level: _Sums() for level in PRICED}
        for panel in panels:
            price = np.ascontiguousarray(panel.price)
            for level, groups in _groups(panel.series).items():
                keys, code = _distinct(groups)
                units[level].add(keys, _sum(np.ascontiguousarray(panel.sales), code, len(keys)))
                if level in PRICED:
                    total, count = _sum_known(price, code, len(keys))
                    prices[level].add(keys, total)
                    counts[level].add(keys, count)
        offered = {level: sums.sorted() for level, sums in counts.items()}
        totals = {level: sums.sorted() for level, sums in units.items()}
        return cls(
            {level: sums.keys() for level, sums in units.items()},
            totals,
            {level: group_sums(total) for level, total in totals.items()},
            {level: _mean(prices[level].sorted(), offered[level]) for level in PRICED},
            offered["item"].astype(np.float32),
        )

    def codes(self, series: pd.DataFrame) -> dict[str, Integers]:
        """Return, for each level, (N,) the group of each series as a position in the level's `keys`.

        Raises:
            ValueError: a series belongs to a group that was not added up.
        """
        found = {}
        for level, groups in _groups(series).items():
            place = {key: number for number, key in enumerate(self.keys[level])}
            try:
                codes = [place[key] for key in groups]
            except KeyError as unknown:
                name = "/".join(unknown.args[0])
                raise ValueError(f"no aggregates of {level} {name}; they must cover all stores") from None
            found[level] = np.array(codes, np.int32)
        return found


class _Sums:
    """Rows of sums by key, in order of first appearance."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], int] = {}
        self._rows: npt.NDArray[Any] | None = None

    def add(self, keys: Keys, rows: npt.NDArray[Any]) -> None:
        """Add a row to the sum of each key; the keys must be distinct."""
        if self._rows is None:
            self._rows = np.zeros((0, rows.shape[1]), rows.dtype)
        places = [self._places.setdefault(key, len(self._places)) for key in keys]
        added = len(self._places) - len(self._rows)
        if added:
            self._rows = np.concatenate([self._rows, np.zeros((added, rows.shape[1]), rows.dtype)])
        self._rows[places] += rows

    def keys(self) -> Keys:
        """Return the keys, sorted."""
        return sorted(self._places)

    def sorted(self) -> npt.NDArray[Any]:
        """Return the rows in the order of the sorted keys.

        Raises:
            ValueError: nothing was added.
        """
        if self._rows is None:
            raise ValueError("no panels were given")
        return self._rows[[self._places[key] for key in self.keys()]]


def _groups(series: pd.DataFrame) -> dict[str, Keys]:
    """Return for each level the group of each series."""
    values = {column: series[column].tolist() for column in SERIES_COLUMNS}
    return {
        level: list(zip(*(values[column] for column in columns), strict=True)) or [()] * len(series)
        for level, columns in GROUPS.items()
    }


def _distinct(groups: Keys) -> tuple[Keys, Integers]:
    """Return the distinct groups, and (N,) the position of each series' group among them."""
    place = {key: number for number, key in enumerate(dict.fromkeys(groups))}
    return list(place), np.array([place[key] for key in groups], np.int32)


def _sum(values: Matrix, code: Integers, groups: int) -> Matrix:
    """Return (groups, days) sums; exact, as units are whole numbers whose sums stay far below 2**24."""
    total = np.zeros((groups, values.shape[1]), np.float32)
    _add(values, code, total)
    return total


@kernel
def _add(values: Matrix, code: Integers, total: Matrix) -> None:
    for row in range(len(values)):
        group = code[row]
        for day in range(values.shape[1]):
            total[group, day] += values[row, day]


def _sum_known(price: Matrix, code: Integers, groups: int) -> tuple[npt.NDArray[np.float64], Integers]:
    """Return (groups, days) the sums and counts of the prices that are not NaN."""
    total, count = np.zeros((groups, price.shape[1])), np.zeros((groups, price.shape[1]), np.int32)
    _add_known(price, code, total, count)
    return total, count


@kernel
def _add_known(price: Matrix, code: Integers, total: npt.NDArray[np.float64], count: Integers) -> None:
    for row in range(len(price)):
        group = code[row]
        for day in range(price.shape[1]):
            known = np.isfinite(price[row, day])
            total[group, day] += price[row, day] if known else 0.0
            count[group, day] += known


def _mean(total: npt.NDArray[np.float64], count: Integers) -> Matrix:
    """Return total / count, or NaN where the count is zero."""
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count.astype(bool))
    return mean.astype(np.float32)
