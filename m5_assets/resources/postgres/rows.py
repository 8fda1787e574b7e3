"""Forecast rows on their way to PostgreSQL: checked, put in one order, hashed and encoded for COPY.

Here: what needs no database. Not here: transactions (`load`) and tables (`schema`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SERIES_COLUMNS = ("item_id", "dept_id", "cat_id", "store_id", "state_id")
MODEL_COLUMNS = ("gbm", "lstm", "ensemble")

Ints: TypeAlias = npt.NDArray[np.int64]

_CHUNK = 65_536  # rows, 3 MB
_DAY_ZERO = (dt.date(2000, 1, 1) - dt.date(1970, 1, 1)).days  # of PostgreSQL's dates
_COPY_HEADER = struct.pack(">11sii", b"PGCOPY\n\xff\r\n\0", 0, 0)
_COPY_TRAILER = struct.pack(">h", -1)
_FIELDS = (("week", ">i4"), ("series_id", ">i4"), ("date", ">i4"), *((name, ">f4") for name in MODEL_COLUMNS))
_ROW = np.dtype(
    [("fields", ">i2"), *(part for name, kind in _FIELDS for part in ((f"{name}_size", ">i4"), (name, kind)))]
)


@dataclass(frozen=True)
class ForecastRows:
    """The rows of one week, by series and within a series by date.

    Attributes:
        series: S rows with the columns of `SERIES_COLUMNS`, by store_id, then item_id.
        codes: (R,) each row's series, as its position in `series`.
        dates: (R,) int32 days since 1970-01-01.
        values: (R, 3) float32, the columns of `MODEL_COLUMNS`.
    """

    series: pa.Table
    codes: Ints
    dates: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table) -> ForecastRows:
        """Check a table and put it in order.

        Args:
            table: the string columns of `SERIES_COLUMNS`, `date` (date32) and the float columns of `MODEL_COLUMNS`,
                in any order of rows.

        Raises:
            ValueError: no rows, a missing column or value, a value that is not finite, a day that a series has twice,
                or a series with two departments, categories or states.
        """
        missing = [name for name in (*SERIES_COLUMNS, "date", *MODEL_COLUMNS) if name not in table.column_names]
        if missing or not table.num_rows:
            raise ValueError(f"forecast: {table.num_rows} rows, missing columns {missing}")
        for name in (*SERIES_COLUMNS, "date", *MODEL_COLUMNS):
            if table[name].null_count:
                raise ValueError(f"forecast: {table[name].null_count} rows have no {name}")
        values = np.stack([table[name].to_numpy().astype(np.float32) for name in MODEL_COLUMNS], axis=1)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(f"forecast: {MODEL_COLUMNS[column]} of row {row} is {values[row, column]}, not a number")

        ranks = {name: _ranks(table[name]) for name in SERIES_COLUMNS}
        pair = ranks["store_id"] * (ranks["item_id"].max() + 1) + ranks["item_id"]
        _, first, codes = np.unique(pair, return_index=True, return_inverse=True)
        for name in SERIES_COLUMNS:
            odd = np.flatnonzero(ranks[name] != ranks[name][first][codes])
            if len(odd):
                item, store = (table[key][int(odd[0])] for key in ("item_id", "store_id"))
                raise ValueError(f"forecast: item {item} in store {store} has more than one {name}")

        dates = table["date"].cast(pa.date32()).cast(pa.int32()).to_numpy()
        days = codes.astype(np.int64) * (int(dates.max()) - int(dates.min()) + 1) + (dates - dates.min())
        order = np.argsort(days, kind="stable")
        twice = np.flatnonzero(np.diff(days[order]) == 0)
        if len(twice):
            item, store, day = (table[key][int(order[twice[0]])] for key in ("item_id", "store_id", "date"))
            raise ValueError(f"forecast: item {item} in store {store} has {day} more than once")
        series = table.select(SERIES_COLUMNS).take(first).cast(pa.schema([(n, pa.string()) for n in SERIES_COLUMNS]))
        return cls(series, codes[order], dates[order].astype(np.int32), values[order])

    def __len__(self) -> int:
        return len(self.codes)

    def sha256(self) -> str:
        """Return a hash of the rows' content; the order in which they came and the series' numbers do not matter."""
        digest = hashlib.sha256("\n".join(map("\t".join, zip(*self.series.to_pydict().values(), strict=True))).encode())
        for part in (self.codes.astype("<i4"), self.dates.astype("<i4"), self.values.astype("<f4")):
            digest.update(part.data)
        return digest.hexdigest()

    def stream(self, week: dt.date, series_id: npt.NDArray[np.int32]) -> io.RawIOBase:
        """Return the rows as a file for COPY in PostgreSQL's binary format, which carries floats exactly.

        Args:
            week: the rows' week.
            series_id: (S,) the database's number of each series.
        """
        return _Stream(self._encoded(week, series_id))

    def _encoded(self, week: dt.date, series_id: npt.NDArray[np.int32]) -> Iterator[bytes]:
        yield _COPY_HEADER
        for begin in range(0, len(self), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            rows = np.empty(len(self.codes[part]), _ROW)
            rows["fields"] = len(_FIELDS)
            for name, _ in _FIELDS:
                rows[f"{name}_size"] = 4
            rows["week"] = (week - dt.date(2000, 1, 1)).days
            rows["series_id"] = series_id[self.codes[part]]
            rows["date"] = self.dates[part] - _DAY_ZERO
            for column, name in enumerate(MODEL_COLUMNS):
                rows[name] = self.values[part, column]
            yield rows.tobytes()
        yield _COPY_TRAILER


class _Stream(io.RawIOBase):
    """A file to read whose content is made as it is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # typeshed's Buffer is not in Python 3.11
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _ranks(column: pa.ChunkedArray) -> Ints:
    """Return (R,) the rank of each row's text among the column's different texts, by code points."""
    text = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    encoded = pc.dictionary_encode(text).combine_chunks()
    order = np.argsort(encoded.dictionary.to_numpy(zero_copy_only=False).astype(str))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    ranks: Ints = rank[encoded.indices.to_numpy()]
    return ranks
