"""Tests of the ensemble's weights: the score grid and the fit between prior and best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting import wrmsse
from m5_assets.forecasting.alignment import align
from m5_assets.forecasting.ensemble import (
    ALIGNMENTS,
    PRIOR_WEEKS,
    PastWeek,
    Weights,
    fit_weights,
    score_grid,
    share_grid,
    weighted_average,
)
from m5_assets.forecasting.hierarchy import Hierarchy
from m5_assets_tests.forecasting.test_wrmsse import series_of

MEMBERS = ("gbm", "lstm")
SHARES = [shares["lstm"] for shares in share_grid(MEMBERS)]
GRID = (len(SHARES), len(ALIGNMENTS))


def _weights(lstm: float, alignment: float) -> Weights:
    return Weights.of(MEMBERS, {"lstm": lstm}, alignment)


def _past(seed: int) -> PastWeek:
    """Return a week of 24 series, some with zero forecasts from both models, with shuffled group numbers."""
    rng = np.random.default_rng(seed)
    series = series_of(stores=4, items=6)
    hierarchy = Hierarchy.of(series)
    names = series[["store_id", "dept_id"]].agg("|".join, axis=1)
    order = rng.permutation(names.unique())
    groups = np.array([int(np.flatnonzero(order == name)[0]) for name in names])
    gbm, lstm, actual = rng.gamma(1.0, 3.0, (3, len(series), 28)).astype(np.float32)
    gbm[groups == 0], lstm[groups == 0] = 0, 0
    totals = rng.gamma(4.0, 3.0, (len(order), 28)).astype(np.float32)
    history = rng.poisson(3.0, (len(series), 60)).astype(float)
    history[0] = 0  # no sale yet, so no scale
    weights = wrmsse.weights(history[:, -28:], np.ones((len(series), 28)), hierarchy)
    members = {"gbm": gbm, "lstm": lstm}
    return PastWeek(members, actual.round(), groups, totals, hierarchy, weights, wrmsse.scales(history, hierarchy))


def test_score_grid_matches_evaluating_each_combination() -> None:
    past = _past(1)
    found = score_grid(past)
    for row, share in enumerate(SHARES):
        average = weighted_average(past.members, {"gbm": 1 - share, "lstm": share})
        for column, strength in enumerate(ALIGNMENTS):
            forecast = align(average, past.groups, past.totals, strength)
            score = wrmsse.evaluate(forecast, past.actual, past.hierarchy, past.weights, past.scales)
            assert found[row, column] == pytest.approx(score.wrmsse, rel=1e-5)


def test_without_past_weeks_the_weights_are_the_prior() -> None:
    assert fit_weights([], _weights(0.3, 0.8)) == _weights(0.3, 0.8)


def test_more_weeks_outweigh_the_prior() -> None:
    grid = np.ones(GRID)
    grid[7, 2] = 0.5
    few, some, many = (fit_weights([grid] * count, _weights(0.3, 0.8)) for count in (1, PRIOR_WEEKS, 10_000))
    assert (few.shares["lstm"], few.alignment) == pytest.approx((0.38, 0.68))
    assert some == _weights(0.5, 0.5)
    assert (many.shares["lstm"], many.alignment) == pytest.approx((0.7, 0.2), abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 13), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_the_fit_lies_between_the_prior_and_the_best(seed: int, count: int, share: float, strength: float) -> None:
    grids = list(np.random.default_rng(seed).random((count, *GRID)))
    row, column = np.unravel_index(int(np.sum(grids, axis=0).argmin()), GRID)
    found = fit_weights(grids, _weights(share, strength))
    for value, best, prior in (
        (found.shares["lstm"], SHARES[row], share),
        (found.alignment, ALIGNMENTS[column], strength),
    ):
        assert min(best, prior) - 1e-4 <= value <= max(best, prior) + 1e-4
        assert value - prior == pytest.approx((best - prior) * count / (count + PRIOR_WEEKS), abs=1e-4)


def test_a_third_member_extends_the_grid() -> None:
    grid = share_grid(("gbm", "lstm", "third"))
    assert len(grid) == 66  # the ways to divide ten tenths among three
    assert all(sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= -1e-9 for shares in grid)
    past = _past(2)
    three = replace(past, members={**past.members, "third": past.members["gbm"]})
    found = dict(zip((tuple(s.values()) for s in grid), score_grid(three), strict=True))
    two = score_grid(past)
    for row, share in enumerate(SHARES):
        np.testing.assert_allclose(found[1 - share, share, 0.0], two[row])
    best = Weights.of(("gbm", "lstm", "third"), {"lstm": 0.3, "third": 0.1}, 0.8)
    assert fit_weights([], best) == best
    fitted = fit_weights([score_grid(three)], best)
    assert sum(fitted.shares.values()) == pytest.approx(1)
