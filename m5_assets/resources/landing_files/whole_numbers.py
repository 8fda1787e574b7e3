"""Columns of whole numbers, which other programs write with a decimal point: a table with gaps becomes 3.0."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from m5_assets.resources.landing_files.csv_file import CellForm

TYPES = (pa.int32(), pa.float64())
"""How to read such a column: as it is usually written, and if that fails."""

_NUMBER = re.compile(r"\d+(\.\d*)?([eE]\+?\d+)?")
_LARGEST = np.iinfo(np.int32).max


def _is_whole(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell)) and float(cell).is_integer() and float(cell) <= _LARGEST


WHOLE = CellForm(r"\d{1,9}(?:\.0*)?", _is_whole)


def whole_numbers(column: pa.Array) -> npt.NDArray[np.int32]:
    """Return the numbers of a column of one of `TYPES`.

    Raises:
        pa.ArrowInvalid: a cell is empty, negative, too large or has a fraction.
    """
    if column.null_count:
        raise pa.ArrowInvalid("empty cells")
    values: npt.NDArray[np.int32] | npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    if not ((values >= 0) & (values <= _LARGEST)).all():
        raise pa.ArrowInvalid("numbers that are negative or too large")
    whole: npt.NDArray[np.int32] = values.astype(np.int32, copy=False)
    if (whole != values).any():
        raise pa.ArrowInvalid("numbers with a fraction")
    return whole
