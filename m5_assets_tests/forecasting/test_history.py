"""Tests of the conversion between weekly tables and dense arrays."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting.history import (
    DailyUnits,
    WeekFile,
    build_panel,
    join_current,
    join_stores,
    join_weeks,
    read_daily,
    read_weeks,
    share_series,
    write_by_store,
)
from m5_assets.forecasting.panel import EVENT_COLUMNS, HORIZON, SERIES_COLUMNS

FIRST = dt.date(2016, 1, 4)  # a Monday


def _series(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    rows = [(f"FOODS_1_{item}", "FOODS_1", "FOODS", store, store[:2]) for store, item in sorted(pairs)]
    return pd.DataFrame(rows, columns=list(SERIES_COLUMNS))


def _file(units: DailyUnits) -> io.BytesIO:
    buffer = io.BytesIO()
    pq.write_table(units.table(), buffer)
    buffer.seek(0)
    return buffer


def _weeks(series: pd.DataFrame, units: np.ndarray) -> list[io.BytesIO]:
    return [
        _file(DailyUnits(series, FIRST + dt.timedelta(days=day), np.ascontiguousarray(units[:, day : day + 7])))
        for day in range(0, units.shape[1], 7)
    ]


PAIRS = [("CA_1", "001"), ("CA_1", "002"), ("TX_1", "001")]
UNITS = np.arange(3 * 21, dtype=np.int32).reshape(3, 21)


@settings(deadline=None)
@given(count=st.integers(1, 5), days=st.integers(1, 9), seed=st.integers(0, 9))
def test_a_table_round_trips(count: int, days: int, seed: int) -> None:
    series = _series([("CA_1", f"{i:03}") for i in range(count)])
    units = np.random.default_rng(seed).integers(0, 50, (count, days)).astype(np.int32)
    found = read_daily(_file(DailyUnits(series, FIRST, units)))
    pd.testing.assert_frame_equal(found.series, series)
    assert (found.first_day, found.units.tolist()) == (FIRST, units.tolist())


def test_weeks_join_into_one_history() -> None:
    found = join_weeks(read_weeks(_weeks(_series(PAIRS), UNITS)))
    assert (found.first_day, found.last_day) == (FIRST, dt.date(2016, 1, 24))
    np.testing.assert_array_equal(found.units, UNITS)


def test_a_series_that_joins_later_has_zeros_before() -> None:
    early = _weeks(_series(PAIRS[:2]), UNITS[:2, :7])
    late = DailyUnits(_series(PAIRS), FIRST + dt.timedelta(days=7), np.ascontiguousarray(UNITS[:, 7:14]))
    found = join_weeks(read_weeks([*early, _file(late)]))
    expected = UNITS[:, :14].copy()
    expected[2, :7] = 0
    np.testing.assert_array_equal(found.units, expected)


def test_a_series_that_has_left_is_no_part_of_the_current_ones() -> None:
    late = DailyUnits(_series(PAIRS[:2]), FIRST + dt.timedelta(days=7), np.ascontiguousarray(UNITS[:2, 7:14]))
    weeks = read_weeks([*_weeks(_series(PAIRS), UNITS[:, :7]), _file(late)])
    found = join_current(weeks)
    pd.testing.assert_frame_equal(found.series, _series(PAIRS[:2]))
    np.testing.assert_array_equal(found.units, UNITS[:2, :14])
    assert len(join_weeks(weeks).series) == 3


def test_a_store_read_alone_has_the_same_rows(tmp_path: Path) -> None:
    files = []
    for day in range(0, 21, 7):
        known = _series(PAIRS[: 2 if day == 7 else 3])  # the second store is missing from a week
        units = UNITS[: len(known), day : day + 7]
        table = DailyUnits(known, FIRST + dt.timedelta(days=day), np.ascontiguousarray(units)).table()
        files.append(WeekFile.of(_written(table, tmp_path / f"{day}.parquet")))
    whole = join_weeks(read_weeks(file.path for file in files))
    assert [sorted(file.stores) for file in files] == [["CA_1", "TX_1"], ["CA_1"], ["CA_1", "TX_1"]]
    for store in ("CA_1", "TX_1"):
        rows = np.flatnonzero(whole.series["store_id"] == store)
        alone = join_weeks(share_series(file.read(store) for file in files))
        pd.testing.assert_frame_equal(alone.series, whole.series.iloc[rows].reset_index(drop=True))
        np.testing.assert_array_equal(alone.units, whole.units[rows])
        assert (alone.first_day, alone.last_day) == (whole.first_day, whole.last_day)


def test_a_store_with_fewer_days_than_its_file_is_rejected(tmp_path: Path) -> None:
    table = DailyUnits(_series(PAIRS), FIRST, UNITS[:, :7].copy()).table()
    short = pa.concat_tables([table.slice(0, 14), table.slice(14, 5)])
    file = WeekFile.of(_written(short, tmp_path / "week.parquet"))
    assert len(file.read("CA_1").series) == 2
    with pytest.raises(ValueError, match="TX_1 has only the days 2016-01-04 to 2016-01-08 of 2016-01-04 to 2016-01-10"):
        file.read("TX_1")


def test_a_table_is_written_with_one_row_group_per_store(tmp_path: Path) -> None:
    table = DailyUnits(_series(PAIRS), FIRST, UNITS).table()
    with pq.ParquetFile(_written(table, tmp_path / "week.parquet")) as file:
        stores = [set(file.read_row_group(group)["store_id"].to_pylist()) for group in range(file.num_row_groups)]
        assert stores == [{"CA_1"}, {"TX_1"}]
    assert read_daily(tmp_path / "week.parquet").units.tolist() == UNITS.tolist()


def _written(table: pa.Table, path: Path) -> Path:
    write_by_store(table, path)
    return path


def test_a_missing_week_is_reported() -> None:
    weeks = _weeks(_series(PAIRS), UNITS)
    with pytest.raises(ValueError, match="expected 2016-01-11, the next file begins 2016-01-18"):
        join_weeks(read_weeks([weeks[0], weeks[2]]))


def test_a_table_with_a_missing_row_is_rejected() -> None:
    table = DailyUnits(_series(PAIRS), FIRST, UNITS).table()
    buffer = io.BytesIO()
    pq.write_table(table.slice(0, table.num_rows - 1), buffer)
    buffer.seek(0)
    with pytest.raises(ValueError, match="not one per series and day"):
        read_daily(buffer)


def test_stores_are_joined_sorted_and_without_duplicates() -> None:
    north = DailyUnits(_series(PAIRS[2:]), FIRST, UNITS[2:])
    south = DailyUnits(_series(PAIRS[:2]), FIRST, UNITS[:2])
    np.testing.assert_array_equal(join_stores([north, south]).units, UNITS)
    with pytest.raises(ValueError, match="appears in two parts"):
        join_stores([south, south])


def _calendar(days: int) -> pa.Table:
    dates = pd.date_range(FIRST, periods=days)
    frame = pd.DataFrame({"date": dates, "wm_yr_wk": 100 + (np.arange(days) + 2) // 7, "snap_CA": dates.day <= 10})
    return pa.Table.from_pandas(frame.assign(**dict.fromkeys(EVENT_COLUMNS, "")), preserve_index=False)


def _prices(rows: list[tuple[str, str, int, float]]) -> pa.Table:
    return pa.table(dict(zip(("store_id", "item_id", "wm_yr_wk", "sell_price"), zip(*rows, strict=True), strict=True)))


def test_prices_apply_to_the_days_of_their_calendar_week() -> None:
    history = DailyUnits(_series(PAIRS), FIRST, UNITS * np.array([[1], [0], [0]], np.int32))
    prices = _prices([("CA_1", "FOODS_1_001", 100, 1.5), ("CA_1", "FOODS_1_001", 101, 2.5), ("XX_9", "NO", 101, 9.0)])
    panel = build_panel(history, prices, _calendar(21 + HORIZON))
    np.testing.assert_array_equal(panel.price[0, :14], np.array([1.5] * 5 + [2.5] * 7 + [np.nan] * 2, np.float32))
    assert np.isnan(panel.price[1:]).all()
    assert panel.release.tolist() == [0, 21 + HORIZON, 21 + HORIZON]
    assert panel.origin == pd.Timestamp("2016-01-24")


def test_prices_after_the_horizon_change_nothing() -> None:
    history = DailyUnits(_series(PAIRS), FIRST, UNITS)
    known = [("CA_1", "FOODS_1_001", 101, 2.5)]
    later = [("CA_1", "FOODS_1_001", 108, 9.0), ("TX_1", "FOODS_1_001", 108, 9.0)]
    short = build_panel(history, _prices(known), _calendar(21 + HORIZON))
    long = build_panel(history, _prices(known + later), _calendar(21 + HORIZON + 60))
    np.testing.assert_array_equal(short.price, long.price)
    np.testing.assert_array_equal(short.release, long.release)


def test_a_short_calendar_is_rejected_with_its_missing_days() -> None:
    history = DailyUnits(_series(PAIRS), FIRST, UNITS)
    with pytest.raises(ValueError, match=r"calendar.csv does not cover 2016-02-20 to 2016-02-21"):
        build_panel(history, _prices([("CA_1", "FOODS_1_001", 100, 1.0)]), _calendar(21 + HORIZON - 2))


def test_a_series_that_sells_is_on_offer_without_a_price() -> None:
    series, units = _series(PAIRS), np.zeros((3, 14), np.int32)
    units[1, 6], units[2, 0] = 4, 1  # the second has no price, the third sold before its first price
    prices = _prices([(store, "FOODS_1_001", 101, 1.0) for store in ("CA_1", "TX_1")])
    panel = build_panel(DailyUnits(series, FIRST, units), prices, _calendar(14 + HORIZON))
    assert panel.release.tolist() == [5, 6, 0]
