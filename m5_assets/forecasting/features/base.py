"""What all families of features share: the description of a feature, the rows to compute and the kernel decorator."""

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
        family: the family it belongs to.
        definition: what it is, in terms of target day t, origin o = t - h and the series' units sold y.
        unit: units/day, ratio, days, code, ...
        known_from: "origin" if it needs sales up to o, "horizon" if it is known 28 days in advance.
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
    """R rows to compute features for, each a series, a target day and a horizon.

    Attributes:
        series: (R,) int32, positions in the panel.
        day: (R,) int32, target days t, as day numbers of the panel; at most T + 27.
        horizon: (R,) int32, h = 1..28; the origin o = t - h must be a day of the panel with known sales.
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
    """Return the cache folder of the compiled functions, a new one whenever any of these modules changes.

    numba recompiles a function when its own file changes, but not when the file of a function that it calls does.
    """
    here = Path(__file__).parent
    content = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(here.glob("*.py"))))
    return Path(numba.config.CACHE_DIR or here / "__pycache__") / content.hexdigest()[:16]


numba.config.CACHE_DIR = str(_cache_folder())


def kernel(function: Function) -> Function:
    """Compile a function with numba, without the GIL, and cache it on disk where possible."""
    try:
        compiled: Function = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba found no writable folder, as in a read-only image
        compiled = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


@kernel
def ratio(numerator: float, denominator: float) -> float:
    """Return numerator / denominator, or NaN unless the denominator is positive."""
    if denominator > 0:
        return numerator / denominator
    return np.nan


@kernel
def latest_same_weekday(day: int, horizon: int) -> int:
    """Return the latest day up to the origin that has the target day's weekday."""
    return day - 7 * ((horizon + 6) // 7)


@kernel
def look_up(table: Matrix, day: Integers, out: Matrix) -> None:
    """Copy each row's day from a (days, columns) table to `out`."""
    for column in range(table.shape[1]):
        for row in range(len(day)):
            out[row, column] = table[day[row], column]
