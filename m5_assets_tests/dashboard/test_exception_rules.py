"""The rules that make a series an exception."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m5_assets.dashboard import exception_rules

ORIGIN = dt.date(2016, 5, 22)
CALM: dict[str, Any] = {
    "item_id": "FOODS_1_001", "dept_id": "FOODS_1", "cat_id": "FOODS", "store_id": "CA_1", "state_id": "CA",
    "forecast_28": 56.0, "gbm_28": 56.0, "lstm_28": 56.0, "last_28": 56, "usual_28": 56.0, "zero_days": 0,
    "nonzero_share_91": 0.9, "sell_price": 2.0, "next_price": None, "next_price_date": None,
    "first_sale": dt.date(2015, 3, 3),
}  # fmt: skip


def found(**changes: Any) -> pd.DataFrame:
    return exception_rules.exceptions(pd.DataFrame([CALM | changes]), ORIGIN)


def kinds(**changes: Any) -> list[str]:
    return sorted(found(**changes)["kind"])


def test_a_calm_series_is_no_exception() -> None:
    assert found().empty
    assert list(found().columns) == list(exception_rules.COLUMNS)


def test_a_gap_in_regular_sales_is_a_likely_stockout() -> None:
    # Sales on 82 of the 91 days and none on the last nine: every day before the gap had one.
    row = found(zero_days=9, nonzero_share_91=82 / 91, usual_28=50.0).iloc[0]
    assert row["kind"] == "out_of_stock"
    assert row["units"] == pytest.approx(50 * 91 / 82)
    assert row["money"] == pytest.approx(2 * 50 * 91 / 82)
    assert "No sales for 9 days" in row["reason"]
    assert "100% of the days before" in row["reason"]


def test_a_long_gap_is_a_drop_to_zero() -> None:
    assert "Dropped to zero" in found(zero_days=30, nonzero_share_91=60 / 91).iloc[0]["reason"]


@pytest.mark.parametrize(
    "changes",
    [
        {"zero_days": 6, "nonzero_share_91": 85 / 91},  # not a whole week
        {"zero_days": 9, "nonzero_share_91": 0.2},  # such gaps are common for it
        {"zero_days": 9, "nonzero_share_91": 82 / 91, "usual_28": 3.0, "forecast_28": 3.0},  # hardly sells
        {"zero_days": 9, "nonzero_share_91": 82 / 91, "sell_price": None},  # no longer on offer
        {"zero_days": 91, "nonzero_share_91": 0.0, "usual_28": 0.0, "forecast_28": 0.0},  # never sold
    ],
)
def test_other_gaps_are_no_stockout(changes: dict[str, Any]) -> None:
    assert "out_of_stock" not in kinds(**changes)


def test_a_sharp_rise_exceeds_noise_and_usual_sales() -> None:
    row = found(forecast_28=120.0, gbm_28=120.0, lstm_28=120.0).iloc[0]
    assert (row["kind"], row["units"], row["money"]) == ("sharp_rise", 64.0, 128.0)
    assert "+114%" in row["reason"]
    assert kinds(forecast_28=80.0, gbm_28=80.0, lstm_28=80.0) == []  # less than 50% more
    assert kinds(usual_28=4.0, forecast_28=20.0, gbm_28=20.0, lstm_28=20.0) == []  # few units
    assert "nothing was sold" in found(usual_28=0.0, forecast_28=40.0, gbm_28=40.0, lstm_28=40.0).iloc[0]["reason"]


def test_a_new_item_is_listed_only_as_new() -> None:
    first = ORIGIN - dt.timedelta(days=exception_rules.NEW_DAYS - 1)
    row = found(first_sale=first, usual_28=10.0).iloc[0]
    assert (row["kind"], row["units"]) == ("new_item", 56.0)
    assert f"{exception_rules.NEW_DAYS} days ago" in row["reason"]
    assert kinds(first_sale=first - dt.timedelta(days=1)) == []
    assert kinds(first_sale=None) == []


def test_a_price_change_puts_its_difference_in_revenue_at_stake() -> None:
    row = found(next_price=1.5, next_price_date=dt.date(2016, 6, 4)).iloc[0]
    assert (row["kind"], row["money"]) == ("price_change", 28.0)
    assert "falls from $2.00 to $1.50 (\N{MINUS SIGN}25%) on 4 Jun 2016" in row["reason"]
    assert kinds(next_price=1.98, next_price_date=dt.date(2016, 6, 4)) == []


def test_models_disagree_when_their_gap_is_half_the_forecast() -> None:
    row = found(gbm_28=80.0, lstm_28=40.0).iloc[0]
    assert (row["kind"], row["units"]) == ("models_disagree", 40.0)
    assert kinds(gbm_28=65.0, lstm_28=45.0) == []


@settings(deadline=None, max_examples=40)  # a slow machine is not a failure
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "forecast_28": st.floats(0, 500),
                "gbm_28": st.floats(0, 500),
                "lstm_28": st.floats(0, 500),
                "usual_28": st.floats(0, 500),
                "zero_days": st.integers(0, 91),
                "nonzero_share_91": st.floats(0, 1),
                "sell_price": st.one_of(st.none(), st.floats(0.1, 50)),
                "next_price": st.one_of(st.none(), st.floats(0.1, 50)),
                "first_sale": st.one_of(st.none(), st.dates(dt.date(2015, 1, 1), ORIGIN)),
            }
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_exception_has_a_reason_and_a_stake(rows: list[dict[str, Any]]) -> None:
    outlook = pd.DataFrame([CALM | row | {"next_price_date": ORIGIN + dt.timedelta(days=3)} for row in rows])
    listed = exception_rules.exceptions(outlook, ORIGIN)
    assert (listed["units"] >= 0).all()
    assert not listed["reason"].str.contains("nan").any()
    money = listed["money"].dropna()
    assert money.is_monotonic_decreasing
    assert listed["money"].isna().to_numpy()[: len(money)].sum() == 0  # rows without a price come last
