"""Adds the lake's prices to rows of series."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.forecasting.panel import HORIZON
from m5_assets.readers.panels import series_of
from m5_assets.resources.lake import Lake
from m5_assets.weeks import Week


class KnownPrices:
    """The lake's prices of some days.

    Args:
        lake: the lake.
        first: the first of the days.
        last: the last day that `since` is called with; prices are kept through the 28 days after it.
    """

    def __init__(self, lake: Lake, first: dt.date, last: dt.date) -> None:
        self._calendar = lake.read_table(lake.get("calendar").files[0])
        dates = pd.to_datetime(self._calendar["date"].to_pandas())
        days = (dates >= pd.Timestamp(first)) & (dates <= pd.Timestamp(last) + pd.Timedelta(days=HORIZON))
        weeks = pc.unique(self._calendar.filter(pa.array(days))["wm_yr_wk"])
        groups = lake.read_groups(lake.get("sell_prices").files[0])
        parts = [part.filter(pc.is_in(part["wm_yr_wk"], weeks)) for part in groups]
        self._prices = pa.concat_tables(parts).unify_dictionaries()

    def since(self, series: pd.DataFrame, first: dt.date) -> npt.NDArray[np.float32]:
        """Return the prices on the day `first` and the 28 days after it, shape (N, 29); NaN: not on offer."""
        stores = pa.array(series["store_id"].unique().tolist())
        known = self._prices.filter(pc.is_in(self._prices["store_id"], stores))
        day = DailyUnits(series, first, np.zeros((len(series), 1), np.int32))
        return build_panel(day, known, self._calendar).price


def priced_sales(lake: Lake, week: Week, prices: KnownPrices) -> Iterator[pa.Table]:
    """Yield a week's sales with their prices, a few stores at a time."""
    for table in lake.read_groups(lake.get("raw_sales", week.key).files[0]):
        yield priced(table, prices, pc.min(table["date"]).as_py())


def priced(table: pa.Table, prices: KnownPrices, since: dt.date) -> pa.Table:
    """Return N x D rows of series, sorted by series and day, with their prices.

    Args:
        table: the rows.
        prices: the prices of their days.
        since: a day no later than their first and at most 28 days before their last.
    """
    dates = pc.min_max(table["date"]).as_py()
    begin, end = (dates["min"] - since).days, (dates["max"] - since).days + 1
    price = prices.since(series_of(table, end - begin), since)[:, begin:end]
    return table.append_column("sell_price", pa.array(price.reshape(-1)))
