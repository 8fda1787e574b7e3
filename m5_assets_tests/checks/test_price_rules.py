from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from m5_assets.checks.price_rules import live_series_priced, prices_in_range
from m5_assets.settings import CheckSettings

LIMITS = CheckSettings()


def _prices(prices: Sequence[float]) -> pa.Table:
    items = [f"FOODS_1_{number:03}" for number in range(len(prices))]
    return pa.table(
        {
            "store_id": pa.array(["CA_1"] * len(prices), pa.string()),
            "item_id": pa.array(items, pa.string()),
            "wm_yr_wk": pa.array([11101] * len(prices), pa.int32()),
            "sell_price": pa.array(prices, pa.float32()),
        }
    )


def test_prices_out_of_range_or_missing_are_detected() -> None:
    factor = LIMITS.limit("price_factor")
    assert prices_in_range(_prices([0.01, 3.5, 107.3]), factor).passed
    for bad in ([0.0], [-1.0], [np.nan], [3.5, 0.0], [3.5, 3.5, 1e6], [3.5, 3.5, 1e-5], []):
        assert not prices_in_range(_prices(bad), factor).passed
    prices = pa.table(
        {
            "store_id": ["CA_1"] * 4,
            "item_id": ["A", "A", "B", "B"],
            "wm_yr_wk": pa.array([1, 2, 1, 2], pa.int32()),
            "sell_price": pa.array([1.0, 1.0, 2.0, 2.0], pa.float32()),
        }
    )
    sold = pd.MultiIndex.from_tuples([("CA_1", "A"), ("CA_1", "B")])
    assert live_series_priced(prices, sold, [1, 2], LIMITS.limit("missing_series")).passed
    found = live_series_priced(prices.slice(0, 3), sold, [1, 2], LIMITS.limit("missing_series"))
    assert not found.passed
    assert "such as CA_1/B" in found.text
