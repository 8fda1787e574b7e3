"""Reader of `sales_train_evaluation.csv` or `sales_train_validation.csv`: one row per series, one column per day."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from re import compile as pattern
from typing import Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing_files.bad_input import EXPORT_AGAIN, BadInput, row_name
from m5_assets.resources.landing_files.calendar_file import SNAP
from m5_assets.resources.landing_files.csv_file import LandingFile
from m5_assets.resources.landing_files.ids import check_ids
from m5_assets.resources.landing_files.whole_numbers import TYPES, WHOLE, whole_numbers

log = logging.getLogger(__name__)

SERIES_COLUMNS = ("item_id", "dept_id", "cat_id", "store_id", "state_id")
ID_COLUMNS = ("id", *SERIES_COLUMNS)

_DAY = pattern(r"d_([1-9]\d{0,5})")
RECENT_DAYS = 28
"""A series that sold on the last of these days is live."""
_LARGEST_TOTAL = np.iinfo(np.int32).max // 28
"""The database keeps the sums of 28 days in 32 bits."""
UNITS_REMEDY = "Units must be whole numbers, 0 on a day without sales. Correct these rows."


@dataclass(frozen=True)
class LandedSales:
    """Daily sales of N series over T days.

    Attributes:
        series: N rows with the columns of `SERIES_COLUMNS`, sorted by store_id and item_id; index 0..N-1.
        first_day: number of the first day.
        last_day: number of the last day.
        units: (N, T) int32, units sold per day.
    """

    series: pd.DataFrame
    first_day: int
    last_day: int
    units: npt.NDArray[np.int32]

    def content(self, first_day: int, last_day: int) -> str:
        """Return a hash of the series and their units on these days, independent of the file's later days.

        Series without a sale up to the last day do not count: a file may list them before they exist or not.
        """
        columns = slice(first_day - self.first_day, last_day - self.first_day + 1)
        return self._keyed.content_of_days(first_day, last_day, self.units[:, columns])

    @cached_property
    def _keyed(self) -> KeyedRows:
        return KeyedRows.of(self.series, self.first_day, self.units)


@dataclass(frozen=True)
class KeyedRows:
    """Keys and first sales of N rows, to compare the content of two files.

    Attributes:
        header: names of the keys, as a line of CSV.
        keys: (N,) each row's keys, as a line of CSV.
        first_sale: (N,) number of the first day with a sale.
    """

    header: str
    keys: npt.NDArray[np.object_]
    first_sale: npt.NDArray[np.int64]

    @classmethod
    def of(cls, keys: pd.DataFrame, first_day: int, units: npt.NDArray[np.int32]) -> Self:
        """Return the rows' keys and first sales.

        Args:
            keys: N rows.
            first_day: number of the first day.
            units: (N, T) units.
        """
        header, *lines = keys.to_csv(index=False).splitlines(keepends=True)
        sold = units > 0
        never = np.iinfo(np.int64).max
        first = np.where(sold.any(axis=1), first_day + sold.argmax(axis=1), never)
        return cls(header, np.array(lines, object), first)

    def content_of_days(self, first_day: int, last_day: int, units: npt.NDArray[np.int32]) -> str:
        """Return a hash of the (N, D) units of these days, of the rows that have sold by the last one."""
        known = self.first_sale <= last_day
        keys = self.header + "".join(self.keys[known])
        digest = hashlib.sha256(hashlib.sha256(keys.encode()).hexdigest().encode())
        digest.update(f"d_{first_day}".encode())
        digest.update(np.ascontiguousarray(units[known]).data)
        return digest.hexdigest()[:16]


def read_days(file: LandingFile, ids: Sequence[str] = ID_COLUMNS) -> range:
    """Return the day numbers of the file's columns; reads only its header.

    Raises:
        BadInput: if the other columns are not exactly `ids`, or the days have gaps or are out of order.
    """
    header = file.header()
    days = [name for name in header if _DAY.fullmatch(name)]
    file.check_columns([name for name in header if name not in days], ids)
    if not days:
        raise BadInput(file, "no day columns (d_1, d_2, …)", "Export the daily sales with one column per day.")
    numbers = [int(name.removeprefix("d_")) for name in days]
    for before, after in pairwise(numbers):
        if after != before + 1:
            remedy = "Order the day columns and include every day."
            raise BadInput(file, f"column d_{after} follows d_{before}: days are missing or out of order", remedy)
    return range(numbers[0], numbers[-1] + 1)


@dataclass(frozen=True)
class SalesSummary:
    """What one pass over the file finds, without keeping the units.

    Attributes:
        series: N rows with the columns of `SERIES_COLUMNS`, in the file's order; index 0..N-1.
        days: day numbers of the T columns.
        recent: (N,) int64, units sold on the last `RECENT_DAYS` days.
        groups: G rows of store_id and dept_id, sorted by them.
        totals: (G, T) int64, units of each store-department.
    """

    series: pd.DataFrame
    days: range
    recent: npt.NDArray[np.int64]
    groups: pd.MultiIndex
    totals: npt.NDArray[np.int64]


def read_sales(file: LandingFile, calendar: pd.DataFrame) -> LandedSales:
    """Read and validate the sales in one pass over the file."""
    blocks: deque[npt.NDArray[np.int32]] = deque()
    found = summarize_sales(file, calendar, blocks)
    order = found.series.sort_values(["store_id", "item_id"]).index.to_numpy()
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    units = np.empty((len(order), len(found.days)), np.int32)
    start = 0
    while blocks:  # frees each block once it is copied, so memory peaks at one matrix instead of two
        block = blocks.popleft()
        units[rank[start : start + len(block)]] = block
        start += len(block)
    return LandedSales(found.series.loc[order].reset_index(drop=True), found.days[0], found.days[-1], units)


def summarize_sales(
    file: LandingFile, calendar: pd.DataFrame, blocks: deque[npt.NDArray[np.int32]] | None = None
) -> SalesSummary:
    """Validate the sales in one pass over the file.

    Args:
        file: the sales.
        calendar: the landed calendar.
        blocks: takes the units, (n, T) per block of rows; without it they are dropped, and memory stays small.

    Raises:
        BadInput: the file is invalid, or does not fit the calendar.
    """
    days = read_days(file)
    check_days(file, days, calendar)
    cause = ""
    for kind in TYPES:
        sums = _Sums(days)
        if blocks is not None:
            blocks.clear()
        try:
            for series, units in _blocks(file, days, kind):
                sums.add(series, units)
                if blocks is not None:
                    blocks.append(units)
                log.info("%s: %s series read", file, f"{sums.count:,}")
        except pa.ArrowInvalid as error:
            cause = cause or str(error)
        else:
            found = sums.summary(file)
            _check_series(file, sums.ids, found.series)
            _check_states(file, found.series, calendar)
            _check_totals(file, found)
            return found
    raise file.refuse_rows(dict.fromkeys((f"d_{day}" for day in days), WHOLE), ["id"], cause, UNITS_REMEDY)


class _Sums:
    """Adds up the blocks of one pass."""

    def __init__(self, days: range) -> None:
        self._days, self.count = days, 0
        self._series: list[pd.DataFrame] = []
        self._recent: list[npt.NDArray[np.int64]] = []
        self._totals: dict[tuple[str, str], npt.NDArray[np.int64]] = {}

    def add(self, series: pd.DataFrame, units: npt.NDArray[np.int32]) -> None:
        self.count += len(series)
        self._series.append(series)
        self._recent.append(units[:, -RECENT_DAYS:].sum(axis=1, dtype=np.int64))
        rows_of = cast("dict[tuple[str, str], npt.NDArray[np.intp]]", series.groupby(["store_id", "dept_id"]).indices)
        for key, rows in rows_of.items():
            total = self._totals.setdefault(key, np.zeros(len(self._days), np.int64))
            total += units[rows].sum(axis=0, dtype=np.int64)

    @cached_property
    def ids(self) -> pd.Series:
        """The column `id`."""
        return self._whole["id"]

    @cached_property
    def _whole(self) -> pd.DataFrame:
        return pd.concat(self._series, ignore_index=True)

    def summary(self, file: LandingFile) -> SalesSummary:
        if not self.count:
            raise BadInput(file, "contains no series", EXPORT_AGAIN)
        keys = sorted(self._totals)
        return SalesSummary(
            self._whole[list(SERIES_COLUMNS)],
            self._days,
            np.concatenate(self._recent),
            pd.MultiIndex.from_tuples(keys, names=["store_id", "dept_id"]),
            np.stack([self._totals[key] for key in keys]),
        )


def _check_totals(file: LandingFile, found: SalesSummary) -> None:
    """Refuse units whose sum over a store-department exceeds what its column can hold."""
    largest = found.totals.max(axis=1)
    for group in map(int, np.flatnonzero(largest > _LARGEST_TOTAL)):
        store, department = found.groups[group]
        day = found.days[int(found.totals[group].argmax())]
        what = f"{store}, {department}: {int(largest[group]):,} units on d_{day}"
        fault = f"the items sum to more than {_LARGEST_TOTAL:,} units in a store-department and day"
        remedy = "Export units in a larger measure, such as kilograms or pieces instead of grams."
        raise BadInput(file, fault, remedy, [what])


def _blocks(file: LandingFile, days: range, kind: pa.DataType) -> Iterator[tuple[pd.DataFrame, npt.NDArray[np.int32]]]:
    names = [f"d_{day}" for day in days]
    for batch in file.batches(dict.fromkeys(ID_COLUMNS, pa.string()) | dict.fromkeys(names, kind)):
        units = day_columns(batch, names)
        yield batch.select(list(ID_COLUMNS)).to_pandas().astype("str"), units


def day_columns(batch: pa.RecordBatch, names: list[str]) -> npt.NDArray[np.int32]:
    """Return (rows, days) units.

    Raises:
        pa.ArrowInvalid: if a cell is empty, negative or not a whole number.
    """
    if any(column.null_count for column in batch.columns):
        raise pa.ArrowInvalid("empty cells")
    return np.column_stack([whole_numbers(batch.column(name)) for name in names])


def check_days(file: LandingFile, days: range, calendar: pd.DataFrame) -> None:
    """Check that the calendar covers the days.

    Raises:
        BadInput: if it does not.
    """
    known = calendar["d"]
    if days[0] < known.iloc[0] or days[-1] > known.iloc[-1]:
        covered = f"d_{known.iloc[0]} to d_{known.iloc[-1]}"
        problem = f"columns d_{days[0]} to d_{days[-1]}, but calendar.csv covers {covered}"
        raise BadInput(file, problem, "Extend calendar.csv to these days, or remove the extra columns.")


_PREFIXES = (
    ("item_id", "dept_id", "FOODS_1_001 in FOODS_1"),
    ("dept_id", "cat_id", "FOODS_1 in FOODS"),
    ("store_id", "state_id", "CA_1 in CA"),
)


def _check_series(file: LandingFile, ids: pd.Series, series: pd.DataFrame) -> None:
    for name in SERIES_COLUMNS:
        codes, names = pd.factorize(series[name])
        check_ids(file, name, names.tolist(), codes, lambda row: [str(ids[row])])
    for child, parent, example in _PREFIXES:
        inside = [a.startswith(b + "_") for a, b in zip(series[child], series[parent], strict=True)]
        faults = f"{child} is " + series[child] + f" but {parent} is " + series[parent]
        remedy = f"A {child} is its {parent}, '_' and more, as {example}. Correct these rows."
        _refuse(file, ids, ~np.array(inside), f"{child} does not begin with {parent} and '_'", faults, remedy)
    stem = series["item_id"] + "_" + series["store_id"]
    good = (ids == stem + "_evaluation") | (ids == stem + "_validation")
    remedy = "An id is item_id, store_id and 'evaluation' or 'validation', joined by '_'. Correct these rows."
    _refuse(file, ids, ~good.to_numpy(), "id does not match item_id and store_id", "expected " + stem + "_…", remedy)
    repeated = stem.duplicated().to_numpy()
    _refuse(file, ids, repeated, "duplicate series", "already present", "Keep one row for each item and store.")


def _check_states(file: LandingFile, series: pd.DataFrame, calendar: pd.DataFrame) -> None:
    unknown = sorted(state for state in series["state_id"].unique() if f"{SNAP}{state}" not in calendar)
    if unknown:
        columns = ", ".join(f"{SNAP}{state}" for state in unknown)
        problem = f"state_id {', '.join(unknown)} has no SNAP column in calendar.csv"
        raise BadInput(file, problem, f"Add to calendar.csv: {columns}, with 1 on SNAP days and 0 on all others.")


def _refuse(
    file: LandingFile,
    ids: pd.Series,
    bad: npt.NDArray[np.bool_],
    problem: str,
    faults: pd.Series | str,
    remedy: str,
) -> None:
    if bad.any():
        texts = pd.Series(faults, index=ids.index)
        rows = (f"{row_name(int(i) + 2, ids[i])}: {texts[i]}" for i in np.flatnonzero(bad))
        raise BadInput(file, problem, remedy, rows)
