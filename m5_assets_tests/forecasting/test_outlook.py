"""Tests of the outlook: worked examples, and invariants that hold for any panel."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.forecasting.outlook import outlook
from m5_assets.forecasting.panel import HORIZON, Panel
from m5_assets_tests.support.panels import make_panel


def forecasts_of(panel: Panel, value: float = 0.5) -> dict[str, np.ndarray]:
    shape = (len(panel.series), HORIZON)
    return {"ensemble": np.full(shape, value, np.float32), "gbm": np.ones(shape), "lstm": np.zeros(shape)}


def one_series(sales: list[float], price: list[float], release: int = -400) -> pd.Series:
    """Return the outlook of a single series with these sales and prices."""
    model = make_panel(0, 1, 1, len(sales))
    panel = Panel(
        model.series,
        np.array([sales], np.float32),
        np.array([price], np.float32),
        np.array([release], np.int32),
        model.calendar,
        model.closed,
    )
    return outlook(panel, forecasts_of(panel)).iloc[0]


def test_recent_sales_are_summed() -> None:
    days = 400
    sales = np.zeros(days)
    sales[-28:], sales[-56:-28], sales[days - 364 : days - 336] = 2, 3, 5
    sales[-6:] = 0
    found = one_series(sales.tolist(), [1.5] * (days + HORIZON))
    assert (found["last_28"], found["previous_28"], found["last_year_28"]) == (44, 84, 140)
    assert found["zero_days"] == 6
    assert found["nonzero_share_91"] == pytest.approx(50 / 91)
    assert found["usual_28"] == pytest.approx(28 * (44 + 84) / 91)
    assert (found["forecast_28"], found["gbm_28"], found["lstm_28"]) == (14, 28, 0)
    first = make_panel(0, 1, 1, days).calendar["date"]
    assert found["first_sale"] == first[days - 364]
    assert found["sell_price"] == 1.5
    assert pd.isna(found["next_price"])
    assert pd.isna(found["next_price_date"])


def test_the_next_price_is_the_first_change_ahead() -> None:
    days = 60
    price = [2.0] * days + [2.0] * 9 + [np.nan] * 2 + [1.5] * 7 + [2.5] * 10
    found = one_series([1.0] * days, price)
    assert (found["sell_price"], found["next_price"]) == (2.0, 1.5)
    assert found["next_price_date"] == make_panel(0, 1, 1, days).calendar["date"][days + 11]


def test_a_new_item_is_measured_since_its_release() -> None:
    days, release = 400, 390
    sales = [0.0] * 394 + [3.0, 3.0, 0.0, 0.0, 3.0, 0.0]
    found = one_series(sales, [np.nan] * release + [4.0] * (days - release + HORIZON), release)
    assert found["usual_28"] == pytest.approx(28 * 9 / 10)
    assert found["zero_days"] == 1
    assert pd.isna(found["last_year_28"])


def test_an_unreleased_item_has_no_sales() -> None:
    days = 400
    found = one_series([0.0] * days, [np.nan] * (days + 7) + [4.0] * (HORIZON - 7), days + 7)
    assert (found["last_28"], found["zero_days"], found["usual_28"]) == (0, 0, 0)
    assert pd.isna(found["sell_price"])
    assert found["next_price"] == 4.0
    assert found["next_price_date"] == make_panel(0, 1, 1, days).calendar["date"][days + 7]
    assert pd.isna(found["first_sale"])


def test_last_year_is_null_beyond_the_panel() -> None:
    assert pd.isna(one_series([1.0] * 363, [1.0] * (363 + HORIZON))["last_year_28"])
    assert one_series([1.0] * 364, [1.0] * (364 + HORIZON))["last_year_28"] == 28


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), days=st.integers(56, 420))
def test_invariants_of_random_panels(seed: int, days: int) -> None:
    panel = make_panel(seed, 4, 3, days)
    found = outlook(panel, forecasts_of(panel))
    pd.testing.assert_frame_equal(found[list(panel.series.columns)], panel.series[found.columns[:5]])
    assert found["last_28"].sum() == panel.sales[:, -28:].sum()
    assert found["zero_days"].between(0, days).all()
    assert (found["zero_days"].eq(0) | panel.sales[:, -1].__eq__(0)).all()
    assert found["nonzero_share_91"].between(0, 1).all()
    assert (found["usual_28"] >= 0).all()
    assert (found["next_price"].isna() == found["next_price_date"].isna()).all()
    assert (found["next_price"] != found["sell_price"]).all()
    sold = (panel.sales > 0).any(axis=1)
    assert (found["first_sale"].notna() == sold).all()
    # 28 days earlier, the last window is what is now the previous one
    earlier = outlook(panel.rewind(28), forecasts_of(panel)) if days >= 84 else None
    if earlier is not None:
        assert (earlier["last_28"] == found["previous_28"]).all()


def test_forecasts_with_the_wrong_shape_are_rejected() -> None:
    panel = make_panel(1, 2, 2, 60)
    with pytest.raises(ValueError, match=r"forecasts with the wrong shape: .'gbm': .3, 28.."):
        outlook(panel, {**forecasts_of(panel), "gbm": np.zeros((3, 28))})
    with pytest.raises(ValueError, match="4 series and 55 days"):
        outlook(panel.rewind(5), forecasts_of(panel))
