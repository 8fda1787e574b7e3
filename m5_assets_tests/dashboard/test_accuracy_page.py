"""The Accuracy page's scores."""

from __future__ import annotations

import httpx

from m5_assets.dashboard import formatting
from m5_assets_tests.support.dashboard_data import (
    GONE,
    NEWEST,
    RISING,
    SCORED,
)
from m5_assets_tests.support.dashboard_pages import figure, plain


def test_accuracy_is_compared_with_the_seasonal_naive(client: httpx.Client) -> None:
    page = client.get(f"/accuracy?week={SCORED}")
    shown = plain(page)
    assert "Ensemble 0.500 WRMSSE" in shown
    assert "Seasonal naive 0.800 WRMSSE" in shown
    assert "Improvement over the naive 37.5%" in shown
    worst = shown[shown.index("Series with the largest errors") :]
    assert worst.index(f"{GONE[0]} in {GONE[1]}") < worst.index(f"{RISING[0]} in {RISING[1]}")
    assert len(figure(page, "horizon-chart")["Ensemble"]["x"]) == 4


def test_an_unscored_week_shows_the_last_scored_one(client: httpx.Client) -> None:
    shown = plain(client.get(f"/accuracy?week={NEWEST}"))
    assert "is not scored yet" in shown
    assert f"Accuracy, week of {formatting.day(SCORED.first_day)}" in shown
