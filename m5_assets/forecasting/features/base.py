"""What every family of features shares: a feature's description, the rows it is computed for, the kernel decorator.

Here: types without knowledge of any feature. Not here: the panel's arrays (`context`) and the features themselves
(one module a family). Adding a family is one module with `FEATURES` and `compute`, and its name in
`catalogue.FAMILIES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]
Vector = npt.NDArray[np.float32]
KnownFrom = Literal["origin", "horizon"]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Feature:
    """One column.

    Attributes:
        name: the column's name.
        family: the family it belongs to, as in `catalogue.FAMILIES`.
        definition: what it is, for target day t, origin o = t - h and the series' units sold y.
        unit: units/day, ratio, days, code, ...
        known_from: "origin" if it needs the sales up to o; "horizon" if it is known 28 days in advance.
    """

    name: str
    family: str
    definition: str
    unit: str
    known_from: KnownFrom


def describe(family: str, known_from: KnownFrom, *features: tuple[str, str, str]) -> tuple[Feature, ...]:
    """Return the features of a family from (name, unit, definition) triples."""
    return tuple(Feature(name, family, definition, unit, known_from) for name, unit, definition in features)


@dataclass(frozen=True)
class Rows:
    """R rows to compute features for: a series, a target day and the horizon it is seen from.

    Attributes:
        series: (R,) int32, positions in the panel.
        day: (R,) int32, target days t, as day numbers of the panel; at most T + 27.
        horizon: (R,) int32, h = 1..28; the origin o = t - h is a day of the panel with known sales.
    """

    series: Integers
    day: Integers
    horizon: Integers

    @property
    def origin(self) -> Integers:
        """(R,) the last day whose sales may be used."""
        return self.day - self.horizon

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.series[part], self.day[part], self.horizon[part])

    def take(self, places: npt.NDArray[np.integer]) -> Rows:
        """Return the rows at these places."""
        return Rows(self.series[places], self.day[places], self.horizon[places])


def _cache_folder() -> Path:
    """Return the place of the compiled functions, one for each state of these modules.

    numba compiles anew when a function's own file has changed, and keeps it when that of a function it calls has.
    """
    here = Path(__file__).parent
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here.glob("*.py"))))
    return Path(numba.config.CACHE_DIR or here / "__pycache__") / content.hexdigest()[:16]


numba.config.CACHE_DIR = str(_cache_folder())


def kernel(function: Function) -> Function:
    """Compile a function with numba, without the GIL, cached on disk where a place for the cache exists."""
    try:
        compiled: Function = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba found no writable place, as in a read-only image
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


@kernel
def ratio(numerator: float, denominator: float) -> float:
    """Return numerator / denominator, and NaN where that has no meaning."""
    if denominator > 0:
        return numerator / denominator
    return np.nan


@kernel
def latest_same_weekday(day: int, horizon: int) -> int:
    """Return the last day up to the origin with the target's weekday."""
    return day - 7 * ((horizon + 6) // 7)


@kernel
def look_up(table: Matrix, day: Integers, out: Matrix) -> None:
    """Copy the day's row of a table (days, columns) to each row of `out`."""
    for column in range(table.shape[1]):
        for row in range(len(day)):
            out[row, column] = table[day[row], column]
