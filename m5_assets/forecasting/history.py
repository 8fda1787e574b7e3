"""Converts the lake's weekly sales, prices and calendar to dense arrays (`Panel`), and daily units back to tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m5_assets.forecasting.closed_days import ClosedDays
from m5_assets.forecasting.panel import EVENT_COLUMNS, HORIZON, SERIES_COLUMNS, Panel

Source = Path | str | IO[bytes]


@dataclass(frozen=True)
class DailyUnits:
    """Daily units of N series over D consecutive days: sales or forecasts.

    As a table (`table`, `read_daily`) it is tidy: one row per series and day, sorted by store_id, item_id and date,
    with the columns of `SERIES_COLUMNS`, `date` and `units`.

    Attributes:
        series: N rows with the columns of `SERIES_COLUMNS`, sorted by store_id, then item_id; index 0..N-1.
        first_day: the first of the D days.
        units: (N, D) units; int32 for sales, float32 for forecasts.
    """

    series: pd.DataFrame
    first_day: dt.date
    units: npt.NDArray[Any]

    @property
    def last_day(self) -> dt.date:
        """The last of the D days."""
        return self.first_day + dt.timedelta(days=self.units.shape[1] - 1)

    def table(self) -> pa.Table:
        """Return the tidy table."""
        count, days = self.units.shape
        columns: dict[str, pa.Array] = {}
        for name in SERIES_COLUMNS:
            codes, values = pd.factorize(self.series[name], sort=True)
            indices = pa.array(np.repeat(codes, days).astype(np.int32))
            columns[name] = pa.DictionaryArray.from_arrays(indices, pa.array(values.astype(str), pa.string()))
        dates = np.datetime64(self.first_day, "D") + np.arange(days)
        columns["date"] = pa.array(np.tile(dates, count), pa.date32())
        columns["units"] = pa.array(self.units.reshape(-1))
        return pa.table(columns)


def write_by_store(table: pa.Table, path: Path) -> None:
    """Write a table sorted by store_id as Parquet, one row group per store, so that each store can be read alone."""
    codes = table["store_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for begin, end in pairwise(bounds):
            writer.write_table(table.slice(begin, end - begin))


def read_store(path: Path, store: str) -> pa.Table:
    """Read a store's rows of a table, skipping row groups that cannot contain them."""
    with pq.ParquetFile(path) as file:
        column = file.schema_arrow.get_field_index("store_id")
        known = [file.metadata.row_group(g).column(column).statistics for g in range(file.num_row_groups)]
        groups = [g for g, s in enumerate(known) if s is None or not s.has_min_max or s.min <= store <= s.max]
        rows = file.read_row_groups(groups, use_threads=False)
    return rows.filter(pc.equal(rows["store_id"], store))


def read_daily(file: Source) -> DailyUnits:
    """Read one tidy table of units.

    Raises:
        ValueError: the table does not have exactly one row per series and day.
    """
    return _daily(pq.read_table(file), file)


def _daily(table: pa.Table, file: Source) -> DailyUnits:
    dates = table["date"].to_numpy().astype("datetime64[D]")
    days = int((dates.max() - dates.min()).astype(int)) + 1 if len(dates) else 0
    if not days or len(dates) % days or (dates.reshape(-1, days) != dates[0] + np.arange(days)).any():
        raise ValueError(f"{file}: its {len(dates)} rows are not one per series and day; materialize it again")
    heads = table.take(np.arange(0, len(dates), days))
    series = pd.DataFrame({name: heads[name].to_pandas().astype(str) for name in SERIES_COLUMNS})
    return DailyUnits(series, dates[0].item(), table["units"].to_numpy().reshape(-1, days))


@dataclass(frozen=True)
class WeekFile:
    """A weekly table of sales, read store by store.

    Attributes:
        path: the file.
        first_day: the first of its days.
        days: number of days.
        groups: the store-departments that it contains, by store_id and dept_id.
    """

    path: Path
    first_day: dt.date
    days: int
    groups: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, path: Path) -> WeekFile:
        """Read a file's days and store-departments, one row group at a time."""
        first, last = dt.date.max, dt.date.min
        groups: set[tuple[str, str]] = set()
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["store_id", "dept_id", "date"])
                days = pc.min_max(table["date"]).as_py()
                first, last = min(first, days["min"]), max(last, days["max"])
                pairs = table.group_by(["store_id", "dept_id"]).aggregate([])
                groups.update(zip(pairs["store_id"].to_pylist(), pairs["dept_id"].to_pylist(), strict=True))
        return cls(path, first, (last - first).days + 1, frozenset(groups))

    @property
    def stores(self) -> frozenset[str]:
        """The stores that it contains."""
        return frozenset(store for store, _ in self.groups)

    @property
    def last_day(self) -> dt.date:
        """The last of its days."""
        return self.first_day + dt.timedelta(days=self.days - 1)

    def read(self, store: str) -> DailyUnits:
        """Return the units of a store; without series if the file does not contain it.

        Raises:
            ValueError: the store does not have exactly one row per series and day of the file.
        """
        if store not in self.stores:
            none = pd.DataFrame({name: pd.Series(dtype=str) for name in SERIES_COLUMNS})
            return DailyUnits(none, self.first_day, np.zeros((0, self.days), np.int32))
        units = _daily(read_store(self.path, store), self.path)
        if (units.first_day, units.last_day) != (self.first_day, self.last_day):
            raise ValueError(
                f"{self.path}: {store} has only the days {units.first_day} to {units.last_day} of {self.first_day} to "
                f"{self.last_day}; materialize it again"
            )
        return units


def join_stores(parts: Sequence[DailyUnits]) -> DailyUnits:
    """Join several stores' units of the same days, sorted as in every table.

    Raises:
        ValueError: the parts cover different days, or a series appears twice.
    """
    spans = {(part.first_day, part.last_day) for part in parts}
    if len(spans) != 1:
        raise ValueError(f"the parts cover different days: {sorted(spans)}")
    series = pd.concat([part.series for part in parts], ignore_index=True)
    if series.duplicated(["store_id", "item_id"]).any():
        raise ValueError("a series appears in two parts")
    order = series.sort_values(["store_id", "item_id"]).index.to_numpy()
    units = np.concatenate([part.units for part in parts])[order]
    return DailyUnits(series.iloc[order].reset_index(drop=True), parts[0].first_day, units)


def read_weeks(files: Iterable[Source]) -> list[DailyUnits]:
    """Read weekly tables, oldest first, as `join_weeks` takes them."""
    return share_series(read_daily(file) for file in files)


def share_series(weeks: Iterable[DailyUnits]) -> list[DailyUnits]:
    """Return the weeks with one `series` object where consecutive ones are equal, which makes `join_weeks` faster."""
    shared: list[DailyUnits] = []
    for week in weeks:
        known = shared and week.series.equals(shared[-1].series)
        shared.append(replace(week, series=shared[-1].series) if known else week)
    return shared


def join_weeks(weeks: Sequence[DailyUnits]) -> DailyUnits:
    """Join weeks of sales, in chronological order, into one dense history.

    A series that is missing from some weeks gets zeros there.

    Raises:
        ValueError: there are no weeks, or they leave a gap or overlap; the message names the days.
    """
    if not weeks:
        raise ValueError("no weeks of sales were given")
    for before, week in pairwise(weeks):
        if week.first_day != (expected := before.last_day + dt.timedelta(days=1)):
            raise ValueError(
                f"the weeks of sales are not consecutive: expected {expected}, the next file begins {week.first_day}"
            )
    # One index for all weeks that share their series, which is the usual case.
    own = {id(week.series): pd.MultiIndex.from_frame(week.series) for week in weeks}
    index = reduce(lambda found, other: found if other.equals(found) else found.union(other), own.values())
    series = index.to_frame(index=False).sort_values(["store_id", "item_id"], ignore_index=True)
    index = pd.MultiIndex.from_frame(series)
    rows = {name: index.get_indexer(each) for name, each in own.items()}
    joined = np.zeros((len(index), sum(week.units.shape[1] for week in weeks)), np.int32)
    position = 0
    for week in weeks:
        end = position + week.units.shape[1]
        joined[rows[id(week.series)], position:end] = week.units
        position = end
    return DailyUnits(series, weeks[0].first_day, joined)


def join_current(weeks: Sequence[DailyUnits]) -> DailyUnits:
    """Join weeks of sales as `join_weeks` does, for the series of the last week.

    A series that the last week lacks has left: it is not forecast, and it is not part of its groups' past either, so
    that their levels are compared like for like.

    Raises:
        ValueError: as `join_weeks`.
    """
    joined = join_weeks(weeks)
    keys = list(SERIES_COLUMNS)
    kept = pd.MultiIndex.from_frame(joined.series[keys]).isin(pd.MultiIndex.from_frame(weeks[-1].series[keys]))
    if kept.all():
        return joined
    return DailyUnits(joined.series[kept].reset_index(drop=True), joined.first_day, joined.units[kept])


def build_panel(history: DailyUnits, prices: pa.Table, calendar: pa.Table, closed: ClosedDays | None = None) -> Panel:
    """Combine sales with what is known in advance about the 28 days after the origin.

    Args:
        history: sales through the origin.
        prices: columns store_id, item_id, wm_yr_wk, sell_price; weeks after the horizon are ignored.
        calendar: columns date, wm_yr_wk, the event columns and `snap_<state>`; must cover the history and the horizon.
        closed: the closed days of all stores; None if they do not matter, as for prices.

    Raises:
        ValueError: the calendar does not cover the days; the message names the missing ones.
    """
    frame = _dated(calendar)
    rows = _rows_of_days(frame, history.first_day, history.last_day + dt.timedelta(days=HORIZON))
    dates = rows["date"].to_numpy()
    known = frame[frame["date"] <= dates[-1]]
    weekly, first_priced = _prices_by_week(history.series, prices, known)
    week_codes = np.searchsorted(np.unique(known["wm_yr_wk"].to_numpy()), rows["wm_yr_wk"].to_numpy(np.int64))
    first_of_week = known.groupby("wm_yr_wk")["date"].min().to_numpy()
    offsets = (first_of_week - dates[0]).astype("timedelta64[D]").astype(np.int64)
    never = len(dates)
    release = np.where(first_priced < len(offsets), offsets[np.minimum(first_priced, len(offsets) - 1)], never)
    # A series that sells is on offer, even if its price is missing or late.
    sold = history.units > 0
    release = np.minimum(release, np.where(sold.any(axis=1), sold.argmax(axis=1), never))
    return Panel(
        history.series,
        history.units.astype(np.float32),
        weekly[:, week_codes],
        np.minimum(release, never).astype(np.int32),
        _covariates(rows),
        (closed or ClosedDays()).only(history.series["store_id"]),
    )


def covariates(calendar: pa.Table, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return what is known in advance about the days from `first` to `last`, in the form of `Panel.calendar`.

    Raises:
        ValueError: the calendar does not cover the days; the message names the missing ones.
    """
    return _covariates(_rows_of_days(_dated(calendar), first, last))


def _dated(calendar: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = calendar.to_pandas()
    frame["date"] = pd.to_datetime(frame["date"]).astype("datetime64[s]")
    return frame.sort_values("date")


def _rows_of_days(calendar: pd.DataFrame, first: dt.date, last: dt.date) -> pd.DataFrame:
    days = pd.date_range(first, last, unit="s")
    rows = calendar.set_index("date").reindex(days)
    if rows["wm_yr_wk"].isna().any():
        missing = rows.index[rows["wm_yr_wk"].isna()]
        raise ValueError(
            f"calendar.csv does not cover {missing[0]:%Y-%m-%d} to {missing[-1]:%Y-%m-%d}; land a longer calendar"
        )
    return rows.reset_index(names="date")


def _covariates(rows: pd.DataFrame) -> pd.DataFrame:
    snaps = [c for c in rows.columns if c.startswith("snap_")]
    return rows[["date", *EVENT_COLUMNS, *snaps]].astype(dict.fromkeys(snaps, bool))


def _prices_by_week(
    series: pd.DataFrame, prices: pa.Table, calendar: pd.DataFrame
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return (N, W) prices by calendar week, NaN where not offered, and (N,) the first week with one (W if none)."""
    weeks = np.unique(calendar["wm_yr_wk"].to_numpy(np.int64))
    stores, items = pd.Index(series["store_id"].unique()), pd.Index(series["item_id"].unique())
    slot = np.full((len(stores), len(items)), -1, np.int64)
    slot[stores.get_indexer(series["store_id"]), items.get_indexer(series["item_id"])] = np.arange(len(series))
    store = _positions(prices["store_id"], stores)
    item = _positions(prices["item_id"], items)
    week_numbers = prices["wm_yr_wk"].to_numpy().astype(np.int64)
    week = np.minimum(np.searchsorted(weeks, week_numbers), len(weeks) - 1)
    row = slot[store, item]
    kept = (store >= 0) & (item >= 0) & (row >= 0) & (weeks[week] == week_numbers)
    table = np.full((len(series), len(weeks)), np.nan, np.float32)
    table[row[kept], week[kept]] = prices["sell_price"].to_numpy()[kept]
    priced = ~np.isnan(table)
    return table, np.where(priced.any(axis=1), priced.argmax(axis=1), len(weeks))


def _positions(column: pa.ChunkedArray, index: pd.Index) -> npt.NDArray[np.int64]:
    encoded = (
        column.unify_dictionaries().combine_chunks()
        if pa.types.is_dictionary(column.type)
        else column.combine_chunks().dictionary_encode()
    )
    lookup = index.get_indexer(pd.Index(encoded.dictionary.to_pylist()))
    positions: npt.NDArray[np.int64] = lookup[encoded.indices.to_numpy()]
    return positions
