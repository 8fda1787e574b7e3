"""Tests that a store's own panel and the aggregates of all stores give the same features, bit for bit, as one panel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting.features import KEY_COLUMNS, Aggregates, Context, compute, horizon_table
from m5_assets.forecasting.features.group_totals import GROUPS
from m5_assets.forecasting.panel import Panel
from m5_assets_tests.support.panels import make_panel


def uneven(seed: int, stores: int) -> Panel:
    """Return a panel whose stores offer different items."""
    panel = make_panel(seed=seed, items=9, stores=stores, days=120)
    kept = np.random.default_rng(seed).random(len(panel.series)) < 0.7
    kept[:: len(panel.series) // stores] = True  # every store keeps at least one
    return panel.select(np.flatnonzero(kept))


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 99), stores=st.integers(1, 7))
def test_features_by_store_equal_those_of_the_whole_panel(seed: int, stores: int) -> None:
    panel = uneven(seed, stores)
    parts = panel.stores()
    whole, aggregates = Context.build(panel), Aggregates.of(part for _, part in parts)
    for store, part in parts:
        alone = Context.build(part, aggregates)
        keys, expected = (horizon_table(context, store).select(KEY_COLUMNS) for context in (alone, whole))
        assert keys.equals(expected)
        own, all_rows = alone.horizon_rows(store), whole.horizon_rows(store)
        assert compute(alone, own).tobytes() == compute(whole, all_rows).tobytes()


def test_groups_are_numbered_by_their_sorted_keys() -> None:
    panel = uneven(1, 5)
    codes = Aggregates.of(part for _, part in panel.stores()).codes(panel.series)
    for level, columns in GROUPS.items():
        expected = panel.series.groupby(list(columns)).ngroup() if columns else np.zeros(len(panel.series))
        np.testing.assert_array_equal(codes[level], expected)


def test_a_store_missing_from_the_aggregates_is_reported() -> None:
    parts = uneven(2, 3).stores()
    aggregates = Aggregates.of(part for _, part in parts[:2])
    with pytest.raises(ValueError, match="no aggregates of state TX"):
        Context.build(parts[2][1], aggregates)
