"""The twelve aggregation levels of the M5 competition, their groups and the sums over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse  # type: ignore[import-untyped]  # scipy ships no type hints

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """One aggregation level: its number in the competition's guide, its name and the columns that define its groups."""

    number: int
    name: str
    keys: tuple[str, ...]


LEVELS = (
    Level(1, "total", ()),
    Level(2, "state", ("state_id",)),
    Level(3, "store", ("store_id",)),
    Level(4, "category", ("cat_id",)),
    Level(5, "department", ("dept_id",)),
    Level(6, "state-category", ("state_id", "cat_id")),
    Level(7, "state-department", ("state_id", "dept_id")),
    Level(8, "store-category", ("store_id", "cat_id")),
    Level(9, "store-department", ("store_id", "dept_id")),
    Level(10, "item", ("item_id",)),
    Level(11, "item-state", ("item_id", "state_id")),
    Level(12, "item-store", ("item_id", "store_id")),
)
"""The levels in the order of the M5 Competitors' Guide, table 1."""

KEY_COLUMNS = ("state_id", "store_id", "cat_id", "dept_id", "item_id")
"""The columns that identify groups."""

_IMPLIED = {"store_id": ("state_id",), "dept_id": ("cat_id",), "item_id": ("dept_id", "cat_id")}


@dataclass(frozen=True)
class Hierarchy:
    """The groups of N bottom series at every level: G groups in all, 42,840 for M5's 30,490 series.

    Groups are ordered by level, and within a level by their keys' values.

    Attributes:
        codes: (12, N) the group of each series at each level, counted from 0 within the level.
        offsets: (13,) index of each level's first group among all groups; the last is G.
        labels: (G,) names of the groups: the keys' values joined by "_", or "Total" for level 1.
        summing: (G, N) sparse matrix of zeros and ones, called S in Hyndman & Athanasopoulos, "Forecasting: Principles
            and Practice", chapter 11.
    """

    codes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.str_]
    summing: sparse.csr_array = field(repr=False)

    @classmethod
    def of(cls, series: pd.DataFrame) -> Hierarchy:
        """Build the hierarchy of N series.

        Args:
            series: N rows with the columns item_id, dept_id, cat_id, store_id and state_id, in the order of the
                arrays to be summed. Any set of series works, for example one store's.

        Raises:
            ValueError: there are no series, a column is missing, or an item appears twice in a store.
        """
        missing = [column for column in KEY_COLUMNS if column not in series.columns]
        if missing or series.empty:
            raise ValueError(f"hierarchy: {len(series)} series, missing columns {missing}")
        values = {column: pd.factorize(series[column].astype(str), sort=True) for column in KEY_COLUMNS}
        codes, labels = [], []
        for level in LEVELS:
            group = np.zeros(len(series), dtype=np.int64)
            for key in level.keys:
                group = group * len(values[key][1]) + values[key][0]
            _, first, code = np.unique(group, return_index=True, return_inverse=True)
            codes.append(code.astype(np.int64))
            names = [values[key][1][values[key][0][first]] for key in level.keys]
            labels.append(np.array(["_".join(parts) for parts in zip(*names, strict=True)] or ["Total"]))
        if len(labels[-1]) != len(series):
            twice = series[series.duplicated(["item_id", "store_id"])].iloc[0]
            raise ValueError(f"hierarchy: item {twice['item_id']} appears more than once in store {twice['store_id']}")
        offsets = np.cumsum([0] + [len(names) for names in labels])
        return cls(np.stack(codes), offsets, np.concatenate(labels), _summing_matrix(np.stack(codes), offsets))

    def sum(self, values: npt.NDArray[np.number]) -> Floats:
        """Return (G, D) the sums of the bottom series' (N, D) values over every group."""
        return np.asarray(self.summing @ values.astype(np.float64), dtype=np.float64)

    def split(self, values: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
        """Split an array whose first axis is all groups into twelve, one per level."""
        return np.split(values, self.offsets[1:-1])

    def keys(self, series: pd.DataFrame) -> pd.DataFrame:
        """Return G rows with `level` and the columns that identify each group; None in columns its level does not have.

        Columns implied by a level's keys are filled too: a store's state, a department's category, an item's department
        and category.

        Args:
            series: the N rows that the hierarchy was built from.
        """
        parts = []
        for level, codes in zip(LEVELS, self.codes, strict=True):
            known = {column for key in level.keys for column in (key, *_IMPLIED.get(key, ()))}
            first = np.unique(codes, return_index=True)[1]
            columns = {c: series[c].astype(str).to_numpy()[first] if c in known else None for c in KEY_COLUMNS}
            parts.append(pd.DataFrame({"level": level.number, **columns}, index=range(len(first))).astype(object))
        return pd.concat(parts, ignore_index=True).astype({"level": int})

    def level_of(self) -> npt.NDArray[np.int64]:
        """Return (G,) the level of each group, 1 to 12."""
        return np.repeat(np.arange(1, len(LEVELS) + 1), np.diff(self.offsets))


def _summing_matrix(codes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> sparse.csr_array:
    levels, count = codes.shape
    rows = (codes + offsets[:-1, None]).reshape(-1)
    columns = np.tile(np.arange(count), levels)
    return sparse.csr_array((np.ones(levels * count), (rows, columns)), shape=(int(offsets[-1]), count))
