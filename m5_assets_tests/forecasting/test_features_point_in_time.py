"""Tests that features as of an origin do not depend, to the bit, on anything after it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting.features import KEY_COLUMNS, NAMES, Context, Rows, compute, read_horizon, write_horizon
from m5_assets.forecasting.features.base import Matrix
from m5_assets.forecasting.panel import HORIZON, Panel
from m5_assets_tests.support.panels import make_panel

DAYS = 150
PANEL = make_panel(seed=7, items=6, stores=2, days=DAYS)


def rows_of(origin: int) -> Rows:
    """Return all series and horizons as of one origin."""
    count = len(PANEL.series)
    horizon = np.tile(np.arange(1, HORIZON + 1, dtype=np.int32), count)
    series = np.repeat(np.arange(count, dtype=np.int32), HORIZON)
    return Rows(series, (origin + horizon).astype(np.int32), horizon)


def another_future(origin: int, seed: int) -> Panel:
    """Return the panel with other sales after the origin, and other prices, releases and events after the horizon."""
    rng = np.random.default_rng(seed)
    sales, price, calendar = PANEL.sales.copy(), PANEL.price.copy(), PANEL.calendar.copy()
    known = origin + HORIZON
    sales[:, origin + 1 :] = rng.integers(0, 1000, sales[:, origin + 1 :].shape)
    price[:, known + 1 :] = rng.uniform(0.1, 99, price[:, known + 1 :].shape)
    release = np.where(
        PANEL.release > known, rng.integers(known + 1, DAYS + HORIZON + 1, len(PANEL.release)), PANEL.release
    )
    later = calendar.index > known
    calendar.loc[later, "event_name_1"] = "Easter"
    for state in PANEL.states:
        calendar.loc[later, f"snap_{state}"] = True
    return dataclasses.replace(PANEL, sales=sales, price=price, release=release.astype(np.int32), calendar=calendar)


def assert_same_bits(found: Matrix, truth: Matrix) -> None:
    """Compare bits, because different NaNs give a file different hashes."""
    np.testing.assert_array_equal(found.view(np.int32), truth.view(np.int32))


@settings(max_examples=12, deadline=None)
@given(origin=st.integers(0, DAYS - 2), seed=st.integers(0, 2**32 - 1))
def test_a_different_future_changes_no_feature(origin: int, seed: int) -> None:
    rows = rows_of(origin)
    truth = compute(Context.build(PANEL), rows)
    assert_same_bits(compute(Context.build(another_future(origin, seed)), rows), truth)


@settings(max_examples=6, deadline=None)
@given(back=st.integers(0, DAYS - 1))
def test_a_rewound_panel_gives_the_same_features(back: int) -> None:
    rows = rows_of(DAYS - 1 - back)
    assert_same_bits(compute(Context.build(PANEL.rewind(back)), rows), compute(Context.build(PANEL), rows))


def test_a_leak_would_be_detected() -> None:
    """Check that a change just before the origin matters; otherwise the tests above prove nothing."""
    origin = 100
    changed = compute(Context.build(another_future(origin - 1, 1)), rows_of(origin))
    truth = compute(Context.build(PANEL), rows_of(origin))
    same = [
        name for place, name in enumerate(NAMES) if np.array_equal(changed[:, place], truth[:, place], equal_nan=True)
    ]
    assert not {"origin_lag_1", "rolling_mean_7", "item_mean_7", "store_dept_ratio_7_28", "snap_lift_91"} & set(same)


def test_a_store_file_is_ordered_and_reproducible(tmp_path: Path) -> None:
    context = Context.build(PANEL)
    store = context.stores[1]
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    count = write_horizon(context, store, first)
    write_horizon(Context.build(PANEL), store, second, threads=1)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.parquet", "second.parquet"]

    table = read_horizon(first)
    assert table.column_names == [*KEY_COLUMNS, *NAMES]
    assert count == table.num_rows == HORIZON * 6
    assert set(table["store_id"].to_pylist()) == {store}
    assert table["horizon"].to_pylist() == list(range(1, HORIZON + 1)) * 6
    assert table["date"][0].as_py() == PANEL.calendar["date"][DAYS].date()
    values = np.stack([table[name].to_numpy() for name in NAMES], axis=1)
    np.testing.assert_array_equal(values, compute(context, context.horizon_rows(store)))
    body = read_horizon(pa.BufferReader(first.read_bytes()))
    np.testing.assert_array_equal(np.stack([body[name].to_numpy() for name in NAMES], axis=1), values)


def test_a_file_without_a_feature_is_rejected(tmp_path: Path) -> None:
    context = Context.build(PANEL)
    path = tmp_path / "store.parquet"
    write_horizon(context, context.stores[0], path)
    pq.write_table(pq.read_table(path).drop_columns(["lag_28"]), path)
    with pytest.raises(ValueError, match="lag_28"):
        read_horizon(path)
