"""Reader of the optional `official.parquet`: the competition's own weights and scales, computed on the full history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from re import compile as pattern

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.resources.landing_files.bad_input import BadInput
from m5_assets.resources.landing_files.csv_file import LandingFile

KEY_COLUMNS = ("level", "series")
LEVELS = 12

_COLUMN = pattern(r"(weight|scale)_([1-9]\d{0,5})")
_FORM = (
    "It needs the columns level (1 to 12), series, and weight_<day> and scale_<day> for the day number of each origin. "
    "Correct it or remove it: without it, the platform computes weights and scales itself."
)


@dataclass(frozen=True)
class LandedOfficial:
    """Weights and scales of G groups at several origins.

    Attributes:
        table: G rows: `level` (1 to 12), `series` (the group's name) and, per origin, `weight_<day number>` (each
            level sums to a twelfth) and `scale_<day number>` (squared units).
        sha256: hash of the file.
    """

    table: pd.DataFrame
    sha256: str

    def at(self, origin: int) -> pd.DataFrame | None:
        """Return level, series, weight and scale at the origin with this day number, or None if the file lacks it."""
        names = {f"weight_{origin}": "weight", f"scale_{origin}": "scale"}
        if not set(names) <= set(self.table.columns):
            return None
        return self.table[[*KEY_COLUMNS, *names]].rename(columns=names)


def read_official(file: LandingFile) -> LandedOfficial:
    """Read and validate the weights and scales."""
    content = file.content()
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError) as error:  # OSError: a page does not decode; the bytes are already in memory
        raise BadInput(file, f"cannot be read as Parquet ({error})", "Copy it again.") from None
    days = _origins(file, table)
    frame: pd.DataFrame = table.to_pandas()
    _refuse(file, frame, frame.isna().any(axis=1).to_numpy(), "missing values")
    _refuse(file, frame, ~frame["level"].between(1, LEVELS).to_numpy(), f"levels outside 1 to {LEVELS}")
    _refuse(file, frame, frame.duplicated(list(KEY_COLUMNS)).to_numpy(), "duplicate groups")
    for day in days:
        weight, scale = frame[f"weight_{day}"].to_numpy(float), frame[f"scale_{day}"].to_numpy(float)
        _refuse(file, frame, ~(np.isfinite(weight) & (weight >= 0)), f"weight_{day} is negative or not finite")
        _refuse(file, frame, ~np.isfinite(scale) | (scale < 0), f"scale_{day} is negative or not finite")
        _refuse(
            file, frame, (weight > 0) & (scale == 0), f"weight_{day} is above zero in groups whose scale_{day} is zero"
        )
        _check_shares(file, frame["level"].to_numpy(int), weight, day)
    return LandedOfficial(frame, hashlib.sha256(content).hexdigest())


def _origins(file: LandingFile, table: pa.Table) -> list[int]:
    pairs = [found.groups() for name in table.column_names if (found := _COLUMN.fullmatch(name))]
    days = sorted({int(day) for _, day in pairs})
    file.check_columns(
        table.column_names, [*KEY_COLUMNS, *(f"{kind}_{d}" for d in days or [1913] for kind in ("weight", "scale"))]
    )
    if not table.num_rows:
        raise BadInput(file, "contains no groups", _FORM)
    kinds = {"level": pa.types.is_integer, "series": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t)}
    for field in table.schema:
        if not kinds.get(field.name, pa.types.is_floating)(field.type):
            raise BadInput(file, f"column {field.name} has the wrong type {field.type}", _FORM)
    return days


def _check_shares(file: LandingFile, level: npt.NDArray[np.int64], weight: npt.NDArray[np.float64], day: int) -> None:
    shares = np.bincount(level, weight, minlength=LEVELS + 1)[1:]
    odd = np.flatnonzero(np.abs(shares * LEVELS - 1) > 1e-6)
    if len(odd):
        problem = f"weight_{day} of level {odd[0] + 1} sums to {shares[odd[0]]:.6f} instead of a twelfth"
        raise BadInput(file, problem, _FORM)


def _refuse(file: LandingFile, frame: pd.DataFrame, bad: npt.NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        raise BadInput(file, problem, _FORM, _names(frame, bad))


def _names(frame: pd.DataFrame, bad: npt.NDArray[np.bool_]) -> Iterator[str]:
    for row in np.flatnonzero(bad):
        yield f"row {row + 1:,} (level {frame['level'].iloc[row]}, {frame['series'].iloc[row]})"
