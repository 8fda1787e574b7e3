"""Validate, sort, hash and encode rows of series for COPY; needs no database."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import REAL, Date, Integer, Table

SERIES_COLUMNS = ("item_id", "dept_id", "cat_id", "store_id", "state_id")
_ATTRIBUTES = {"item_id": ("dept_id", "cat_id"), "store_id": ("state_id",)}

Ints: TypeAlias = npt.NDArray[np.int64]

_CHUNK = 65_536  # rows, 3 MB
_DAY_ZERO = (dt.date(2000, 1, 1) - dt.date(1970, 1, 1)).days  # PostgreSQL counts dates from 2000-01-01
_COPY_HEADER = struct.pack(">11sii", b"PGCOPY\n\xff\r\n\0", 0, 0)
_COPY_TRAILER = struct.pack(">h", -1)
_NULL = -1  # the size of a null field, which has no bytes
_KINDS = ((REAL, pa.float32(), ">f4"), (Date, pa.date32(), ">i4"), (Integer, pa.int32(), ">i4"))


@dataclass(frozen=True)
class SeriesRows:
    """One week's rows for a table of series, sorted by series and date.

    Attributes:
        table: the target table; its columns are `week`, `series_id` and others of four bytes each.
        series: S rows with the columns of `SERIES_COLUMNS`, sorted by store_id and item_id.
        codes: (R,) each row's series, as its position in `series`.
        values: each other column, (R,) float32 or int32, by name; dates are days since 1970-01-01.
        nulls: (R,) True where a value is missing, by name; only columns with missing values.
    """

    table: Table
    series: pa.Table
    codes: Ints
    values: Mapping[str, npt.NDArray[Any]]
    nulls: Mapping[str, npt.NDArray[np.bool_]]

    @classmethod
    def of(cls, target: Table, table: pa.Table) -> SeriesRows:
        """Validate and sort a table's rows.

        Args:
            target: the target table.
            table: the string columns of `SERIES_COLUMNS` and the target's columns except week and series_id, with rows
                in any order. NaN means null if the column is nullable.

        Raises:
            ValueError: if there are no rows, a column or value is missing, a value is not finite, a series has a day
                twice, an item has two departments or categories, or a store has two states.
        """
        columns = [column for column in target.columns if column.name not in ("week", "series_id")]
        check_columns(target, table, [*SERIES_COLUMNS, *(column.name for column in columns)])
        for name in SERIES_COLUMNS:
            if table[name].null_count:
                raise ValueError(f"{target.name}: {table[name].null_count} rows have no {name}")
        values: dict[str, npt.NDArray[Any]] = {}
        nulls: dict[str, npt.NDArray[np.bool_]] = {}
        for column in columns:
            required = not column.nullable or column.name in target.info.get("required", ())
            kind = next(arrow for sql, arrow, _ in _KINDS if isinstance(column.type, sql))
            values[column.name], null = _numbers(target.name, column.name, table[column.name], kind, required)
            if null.any():
                nulls[column.name] = null
        series, codes = _series(target.name, table)
        order = _order(target.name, table, codes, values.get("date"))
        return cls(
            target,
            series,
            codes[order],
            {name: value[order] for name, value in values.items()},
            {name: null[order] for name, null in nulls.items()},
        )

    def __len__(self) -> int:
        return len(self.codes)

    def sha256(self) -> str:
        """Return a hash of the rows' content, independent of their original order and of the series' numbers."""
        digest = hashlib.sha256("\n".join(map("\t".join, zip(*self.series.to_pydict().values(), strict=True))).encode())
        digest.update(self.codes.astype("<i4").data)
        for name, value in self.values.items():
            digest.update(value.data)
            digest.update(self.nulls[name].data if name in self.nulls else b"")
        return digest.hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `stream`, in order."""
        return ("week", "series_id", *self.values)

    def stream(self, week: dt.date, series_id: npt.NDArray[np.int32]) -> io.RawIOBase:
        """Return the rows as a file in the binary format of COPY, which keeps floats exact.

        Source: "Binary Format" under COPY in PostgreSQL's manual.

        Args:
            week: first day of the rows' week.
            series_id: (S,) each series' number in the database.
        """
        return _Stream(self._encoded(week, series_id))

    def _encoded(self, week: dt.date, series_id: npt.NDArray[np.int32]) -> Iterator[bytes]:
        kinds = {"week": ">i4", "series_id": ">i4"}
        kinds |= {name: ">f4" if value.dtype == np.float32 else ">i4" for name, value in self.values.items()}
        sized = (part for name, kind in kinds.items() for part in ((f"{name}_size", ">i4"), (name, kind)))
        form = np.dtype([("fields", ">i2"), *sized])
        days = {column.name for column in self.table.columns if isinstance(column.type, Date)}
        yield _COPY_HEADER
        for begin in range(0, len(self), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            rows = np.empty(len(self.codes[part]), form)
            rows["fields"] = len(kinds)
            for name in kinds:
                rows[f"{name}_size"] = 4
            rows["week"] = (week - dt.date(2000, 1, 1)).days
            rows["series_id"] = series_id[self.codes[part]]
            for name, value in self.values.items():
                rows[name] = value[part] - (_DAY_ZERO if name in days else 0)
            yield self._without_nulls(rows, part)
        yield _COPY_TRAILER

    def _without_nulls(self, rows: npt.NDArray[Any], part: slice) -> bytes:
        kept: npt.NDArray[np.bool_] | None = None
        for name, null in self.nulls.items():
            if null[part].any():
                kept = np.ones((len(rows), rows.dtype.itemsize), np.bool_) if kept is None else kept
                rows[f"{name}_size"][null[part]] = _NULL
                offset = rows.dtype.fields[name][1]  # type: ignore[index]  # a structured dtype has fields
                kept[null[part], offset : offset + 4] = False
        if kept is None:
            return rows.tobytes()
        return rows.view(np.uint8).reshape(kept.shape)[kept].tobytes()


def check_columns(target: Table, table: pa.Table, names: Sequence[str]) -> None:
    """Check that a table to load has rows and these columns.

    Raises:
        ValueError: if it does not.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"{target.name}: missing columns {missing}")
    if not table.num_rows:
        raise ValueError(f"{target.name}: 0 rows, nothing to load")


def _numbers(
    table: str, name: str, column: pa.ChunkedArray, kind: pa.DataType, required: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return (R,) float32 or int32 values, zero where missing, and a (R,) mask of the missing ones."""
    if pa.types.is_floating(kind):
        values = column.to_numpy().astype(np.float32)
        null = column.is_null().to_numpy() if column.null_count else np.zeros(len(values), np.bool_)
        null = null if required else np.isnan(values)
        odd = np.flatnonzero(~np.isfinite(values) & ~null)
        if len(odd):
            raise ValueError(f"{table}: {name} of row {odd[0]} is {values[odd[0]]}, not a number")
        values = np.where(null, np.float32(0), values) if null.any() else values
    else:
        null = column.is_null().to_numpy() if column.null_count else np.zeros(len(column), np.bool_)
        numbers = column.cast(kind).cast(pa.int32())
        values = (pc.fill_null(numbers, 0) if column.null_count else numbers).to_numpy()
    if required and null.any():
        raise ValueError(f"{table}: {int(null.sum())} rows have no {name}")
    return values, null


def _series(table: str, rows: pa.Table) -> tuple[pa.Table, Ints]:
    """Return the S series of the rows, sorted by store and item, and (R,) each row's position among them."""
    ranks = {name: _ranks(rows[name]) for name in SERIES_COLUMNS}
    for key, attributes in _ATTRIBUTES.items():
        _, first = np.unique(ranks[key], return_index=True)
        for name in attributes:
            odd = np.flatnonzero(ranks[name] != ranks[name][first][ranks[key]])
            if len(odd):
                raise ValueError(f"{table}: {key} {rows[key][int(odd[0])]} has more than one {name}")
    count = int(ranks["item_id"].max()) + 1
    pair = ranks["store_id"] * count + ranks["item_id"]
    present = np.zeros((int(ranks["store_id"].max()) + 1) * count, np.int64)
    present[pair] = 1
    codes = (np.cumsum(present) - 1)[pair]
    first_row = np.empty(int(codes.max()) + 1, np.int64)
    first_row[codes[::-1]] = np.arange(len(codes))[::-1]
    texts = pa.schema([(name, pa.string()) for name in SERIES_COLUMNS])
    return rows.select(SERIES_COLUMNS).take(first_row).cast(texts), codes


def _order(table: str, rows: pa.Table, codes: Ints, dates: npt.NDArray[np.int32] | None) -> Ints | slice:
    """Return the indices that sort the rows by series and date, or a slice, which avoids a copy, if they are sorted."""
    days = codes if dates is None else codes * (int(dates.max()) - int(dates.min()) + 1) + (dates - dates.min())
    order: Ints | slice = slice(None)
    if (np.diff(days) < 0).any():
        order = np.argsort(days, kind="stable")
    twice = np.flatnonzero(np.diff(days[order]) == 0)
    if len(twice):
        row = int(np.arange(len(days))[order][twice[0]])
        item, store = (rows[key][row] for key in ("item_id", "store_id"))
        what = "a row" if dates is None else rows["date"][row]
        raise ValueError(f"{table}: item {item} in store {store} has {what} more than once")
    return order


class _Stream(io.RawIOBase):
    """A readable file over an iterator of chunks."""

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
    """Return (R,) each row's rank among the column's distinct texts, by code point."""
    encoded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks()
    order = np.argsort(encoded.dictionary.to_numpy(zero_copy_only=False).astype(str))
    codes = encoded.indices.to_numpy()
    used = np.bincount(codes, minlength=len(order)) > 0  # a slice keeps the whole table's dictionary
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.cumsum(used[order]) - 1
    ranks: Ints = rank[codes]
    return ranks
