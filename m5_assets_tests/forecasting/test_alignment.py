"""Tests of the alignment: sums, proportions and signs for any strength."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from m5_assets.forecasting.alignment import align

ITEMS, GROUPS, DAYS = 12, 4, 5

amounts = st.one_of(st.just(0.0), st.floats(0.0625, 1000, width=32))
items = arrays(np.float32, (ITEMS, DAYS), elements=amounts)
totals = arrays(np.float32, (GROUPS, DAYS), elements=amounts)
codes = arrays(np.int64, ITEMS, elements=st.integers(0, GROUPS - 1))


def sums(units: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.stack([units[groups == group].astype(float).sum(axis=0) for group in range(GROUPS)])


@given(items, codes, totals)
def test_at_full_strength_items_sum_to_the_totals(units: np.ndarray, groups: np.ndarray, wanted: np.ndarray) -> None:
    found = sums(align(units, groups, wanted), groups)
    sold = sums(units, groups) > 0
    np.testing.assert_allclose(found[sold], wanted[sold], rtol=1e-5)
    assert (found[~sold] == 0).all()


@given(items, codes, totals, st.floats(0, 1))
def test_items_keep_their_proportions_and_are_never_negative(
    units: np.ndarray, groups: np.ndarray, wanted: np.ndarray, strength: float
) -> None:
    aligned = align(units, groups, wanted, strength)
    before, after = sums(units, groups)[groups], sums(aligned, groups)[groups]
    assert np.isfinite(aligned).all()
    assert (aligned >= 0).all()
    np.testing.assert_allclose(aligned * before, units * after, rtol=1e-4, atol=1e-3)


@given(items, codes, totals)
def test_zero_strength_changes_nothing(units: np.ndarray, groups: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(align(units, groups, wanted, 0.0), units, rtol=1e-6)


def test_half_strength_is_the_geometric_mean_of_the_sums() -> None:
    aligned = align(np.array([[1.0], [3.0]]), np.array([0, 0]), np.array([[16.0]]), 0.5)
    np.testing.assert_allclose(aligned, [[2.0], [6.0]])


@pytest.mark.parametrize(
    ("units", "groups", "wanted", "strength", "message"),
    [
        (np.ones((2, 3)), np.zeros(2, int), np.ones((1, 4)), 1.0, "do not match"),
        (np.ones((2, 3)), np.array([0, 1]), np.ones((1, 3)), 1.0, "from 0 to 0"),
        (-np.ones((2, 3)), np.zeros(2, int), np.ones((1, 3)), 1.0, "units contain"),
        (np.ones((2, 3)), np.zeros(2, int), np.full((1, 3), np.nan), 1.0, "totals contain"),
        (np.ones((2, 3)), np.zeros(2, int), np.ones((1, 3)), 1.5, "strength"),
    ],
)
def test_invalid_input_is_rejected(
    units: np.ndarray, groups: np.ndarray, wanted: np.ndarray, strength: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        align(units, groups, wanted, strength)
