"""Reader of `sell_prices.csv`: one row per store, item and week in which the item is offered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing_files.bad_input import EXPORT_AGAIN, BadInput, row_name
from m5_assets.resources.landing_files.csv_file import CellForm, LandingFile
from m5_assets.resources.landing_files.ids import check_ids
from m5_assets.resources.landing_files.whole_numbers import TYPES, whole_numbers

_TYPES = {
    "store_id": pa.dictionary(pa.int32(), pa.string()),
    "item_id": pa.dictionary(pa.int32(), pa.string()),
    "wm_yr_wk": pa.int32(),
    "sell_price": pa.float32(),
}
_KEYS = ("store_id", "item_id", "wm_yr_wk")
_FORMS = {
    "wm_yr_wk": CellForm.of(r"\d{5}(?:\.0*)?"),
    "sell_price": CellForm.of(r"\d+\.?\d*(?:[eE][-+]?\d+)?"),
}
_REMEDY = (
    "A price is above 0, with a point in decimals and without a currency; a week in which an item is not offered has "
    "no row. Correct or remove these rows."
)


def read_prices(file: LandingFile, calendar: pd.DataFrame) -> pa.Table:
    """Read and validate the prices; see `Landing.sell_prices` for the columns."""
    file.check_columns(file.header(), list(_TYPES))
    table = _read(file)
    if not table.num_rows:
        raise BadInput(file, "contains no prices", EXPORT_AGAIN)
    if any(column.null_count for column in table.columns):
        raise file.refuse_rows(_FORMS, _KEYS, "empty cells", _REMEDY)
    for name in _KEYS[:2]:
        encoded = table[name].combine_chunks()
        check_ids(file, name, encoded.dictionary.to_pylist(), encoded.indices.to_numpy(), lambda row: _key(table, row))
    price = table["sell_price"].to_numpy()
    bad = np.flatnonzero(~(np.isfinite(price) & (price > 0)))
    if bad.size:
        raise BadInput(file, "bad values in column sell_price", _REMEDY, _rows(table, bad))
    _check_weeks(file, table, calendar)
    _check_unique(file, table)
    return table


def _read(file: LandingFile) -> pa.Table:
    cause = ""
    for kind in TYPES:
        try:
            table = file.table(_TYPES | {"wm_yr_wk": kind}).select(list(_TYPES)).unify_dictionaries().combine_chunks()
            if kind == _TYPES["wm_yr_wk"] or not table.num_rows:
                return table
            weeks = pa.array(whole_numbers(table["wm_yr_wk"].combine_chunks()))
            return table.set_column(table.column_names.index("wm_yr_wk"), "wm_yr_wk", weeks)
        except pa.ArrowInvalid as error:
            cause = cause or str(error)
    raise file.refuse_rows(_FORMS, _KEYS, cause, _REMEDY)


def content_by_week(table: pa.Table, calendar: pd.DataFrame) -> dict[str, str]:
    """Return a content hash of each Walmart week's prices, by the week's first day; independent of row order."""
    rows = _hashes(table["store_id"]) ^ _mixed(_hashes(table["item_id"]))
    rows = _mixed(rows ^ table["sell_price"].to_numpy().view(np.uint32).astype(np.uint64))
    weeks, places = np.unique(table["wm_yr_wk"].to_numpy(), return_inverse=True)
    sums = np.zeros(len(weeks), np.uint64)
    np.add.at(sums, places, rows)
    first_days = calendar.groupby("wm_yr_wk")["date"].min()
    return {f"{first_days[week]:%Y-%m-%d}": f"{content:016x}" for week, content in zip(weeks, sums, strict=True)}


def _hashes(column: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    encoded = column.combine_chunks()
    names = [hashlib.sha256(str(name).encode()).digest()[:8] for name in encoded.dictionary.to_pylist()]
    found: npt.NDArray[np.uint64] = np.frombuffer(b"".join(names), np.uint64)[encoded.indices.to_numpy()]
    return found


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix all bits (SplitMix64's finalizer), so that the sum of the rows' hashes identifies the set of rows."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _check_weeks(file: LandingFile, table: pa.Table, calendar: pd.DataFrame) -> None:
    weeks = calendar["wm_yr_wk"].unique()
    unknown = np.flatnonzero(~np.isin(table["wm_yr_wk"].to_numpy(), weeks))
    if unknown.size:
        raise BadInput(
            file,
            f"weeks outside calendar.csv ({weeks.min()} to {weeks.max()})",
            "Extend calendar.csv to these weeks, or correct wm_yr_wk.",
            _rows(table, unknown),
        )


def _check_unique(file: LandingFile, table: pa.Table) -> None:
    store, item = (table[name].combine_chunks() for name in _KEYS[:2])
    week = table["wm_yr_wk"].to_numpy().astype(np.int64)
    series = store.indices.to_numpy().astype(np.int64) * len(item.dictionary) + item.indices.to_numpy()
    key = series * (week.max() + 1) + week
    if (np.diff(key) > 0).all():  # Kaggle's order: no need to sort
        return
    order = np.argsort(key, kind="stable")
    repeated = np.sort(order[1:][np.diff(key[order]) == 0])
    if repeated.size:
        remedy = "Keep one row for each store, item and week."
        raise BadInput(file, "duplicate rows for a store, item and week", remedy, _rows(table, repeated))


def _rows(table: pa.Table, indices: Iterable[int]) -> Iterable[str]:
    for index in map(int, indices):
        yield f"{row_name(index + 2, *_key(table, index))}: sell_price is {table['sell_price'][index].as_py():g}"


def _key(table: pa.Table, index: int) -> list[str]:
    return [str(table[name][index].as_py()) for name in _KEYS]
