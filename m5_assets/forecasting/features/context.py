"""The arrays that features are computed from, built once from a whole panel.

Here: codes, totals of the hierarchy, mean prices, calendar arrays; all of them may be read at any day, so a kernel
decides what is known at a row's origin. Not here: anything that depends on an origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting.features import holidays
from m5_assets.forecasting.features.base import Integers, Matrix, Rows, kernel
from m5_assets.forecasting.features.cumulative import Sums, group_sums
from m5_assets.forecasting.panel import HORIZON, Panel

GROUPS: dict[str, tuple[str, ...]] = {
    "total": (),
    "state": ("state_id",),
    "store": ("store_id",),
    "cat": ("cat_id",),
    "dept": ("dept_id",),
    "state_dept": ("state_id", "dept_id"),
    "store_cat": ("store_id", "cat_id"),
    "store_dept": ("store_id", "dept_id"),
    "item": ("item_id",),
    "item_state": ("item_id", "state_id"),
}
"""Levels of the hierarchy above the series, and the keys that name their groups."""

EVENT_NAMES = (
    *("Chanukah End", "Christmas", "Cinco De Mayo", "ColumbusDay", "Easter", "Eid al-Fitr", "EidAlAdha"),
    *("Father's day", "Halloween", "IndependenceDay", "LaborDay", "LentStart", "LentWeek2", "MartinLutherKingDay"),
    *("MemorialDay", "Mother's day", "NBAFinalsEnd", "NBAFinalsStart", "NewYear", "OrthodoxChristmas"),
    *("OrthodoxEaster", "Pesach End", "PresidentsDay", "Purim End", "Ramadan starts", "StPatricksDay", "SuperBowl"),
    *("Thanksgiving", "ValentinesDay", "VeteransDay"),
)
"""The events of the M5 calendar; an event's code is its place here, from 1. A fixed list keeps codes stable."""

EVENT_TYPES = ("Cultural", "National", "Religious", "Sporting")


@dataclass(frozen=True)
class Context:
    """Arrays over N series, T known days and the 28 days after them.

    Attributes:
        sales: (N, T) units sold.
        price: (N, T + 28) price, NaN where not offered.
        release: (N,) first day with a price.
        first_sale: (N,) first day of the panel with a sale; T where none.
        codes: for each level of `GROUPS`, (N,) the series' group, numbered in the order of the sorted keys.
        totals: for each level, (groups, T) units sold by the group.
        sums: for each level, (groups, T + 1) units sold by the group before each day.
        mean_price: for the levels store_dept, store_cat and item, (groups, T + 28) the mean price on offer.
        offered: (items, T + 28) stores that offer the item.
        snap: (S, T + 28) SNAP days of the states, 0 or 1.
        dates: (T + 28,) datetime64[D].
        event: (T + 28, 3) codes of the first event, of its type and of the second event; 0 is none.
        holiday_distance: (T + 28, len(holidays.NAMES)) days from each holiday, NaN far from it.
        holiday_nearest: (T + 28, 2) days to the next and since the last holiday.
        series: N rows with the keys of the series.
    """

    sales: Matrix
    price: Matrix
    release: Integers
    first_sale: Integers
    codes: dict[str, Integers]
    totals: dict[str, Matrix]
    sums: dict[str, Sums]
    mean_price: dict[str, Matrix]
    offered: Matrix
    snap: Matrix
    dates: npt.NDArray[np.datetime64]
    event: Integers
    holiday_distance: Matrix
    holiday_nearest: Matrix
    series: pd.DataFrame

    @property
    def days(self) -> int:
        """T, the number of days whose sales are known."""
        return int(self.sales.shape[1])

    @property
    def stores(self) -> list[str]:
        """The stores' names, in the order of their codes."""
        return sorted(self.series["store_id"].unique().tolist())

    @classmethod
    def build(cls, panel: Panel) -> Context:
        """Return the context of a panel that holds all stores; takes about as much memory again as the panel."""
        sales, price = np.ascontiguousarray(panel.sales), np.ascontiguousarray(panel.price)
        codes = {level: _codes(panel.series, keys) for level, keys in GROUPS.items()}
        totals = {level: _sum(sales, code) for level, code in codes.items()}
        sold = sales > 0
        dates = panel.calendar["date"].to_numpy().astype("datetime64[D]")
        return cls(
            sales=sales,
            price=price,
            release=panel.release.astype(np.int32),
            first_sale=np.where(sold.any(axis=1), sold.argmax(axis=1), panel.days).astype(np.int32),
            codes=codes,
            totals=totals,
            sums={level: group_sums(total) for level, total in totals.items()},
            mean_price={level: _mean_price(price, codes[level]) for level in ("store_dept", "store_cat", "item")},
            offered=_sum(np.isfinite(price).astype(np.float32), codes["item"]),
            snap=np.ascontiguousarray(panel.snap().T.astype(np.float32)),
            dates=dates,
            event=_events(panel.calendar),
            holiday_distance=holidays.distances(dates),
            holiday_nearest=holidays.nearest(dates),
            series=panel.series,
        )

    def horizon_rows(self, store: str) -> Rows:
        """Return the prediction rows of a store: its series in the panel's order, days T..T+27 within each."""
        series = np.flatnonzero(self.series["store_id"].to_numpy(str) == store).astype(np.int32)
        if not len(series):
            raise ValueError(f"no series of store {store!r} in the panel; its stores are {', '.join(self.stores)}")
        ahead = np.arange(1, HORIZON + 1, dtype=np.int32)
        horizon = np.tile(ahead, len(series))
        return Rows(np.repeat(series, HORIZON), self.days - 1 + horizon, horizon)


def _codes(series: pd.DataFrame, keys: tuple[str, ...]) -> Integers:
    if not keys:
        return np.zeros(len(series), np.int32)
    return series.groupby(list(keys), sort=True).ngroup().to_numpy().astype(np.int32)


def _sum(values: Matrix, code: Integers) -> Matrix:
    """Return (groups, days) sums; exact, as units and counts are whole numbers far below 2**24."""
    total = np.zeros((int(code.max()) + 1, values.shape[1]), np.float32)
    _add(values, code, total)
    return total


@kernel
def _add(values: Matrix, code: Integers, total: Matrix) -> None:
    for row in range(len(values)):
        for day in range(values.shape[1]):
            total[code[row], day] += values[row, day]


def _mean_price(price: Matrix, code: Integers) -> Matrix:
    mean = np.full((int(code.max()) + 1, price.shape[1]), np.nan, np.float32)
    _average(price, code, np.zeros(mean.shape), np.zeros(mean.shape, np.int32), mean)
    return mean


@kernel
def _average(price: Matrix, code: Integers, total: npt.NDArray[np.float64], count: Integers, mean: Matrix) -> None:
    for row in range(len(price)):
        for day in range(price.shape[1]):
            if np.isfinite(price[row, day]):
                total[code[row], day] += price[row, day]
                count[code[row], day] += 1
    for group in range(len(mean)):
        for day in range(mean.shape[1]):
            if count[group, day] > 0:
                mean[group, day] = total[group, day] / count[group, day]


def _events(calendar: pd.DataFrame) -> Integers:
    return np.stack(
        [
            _event_codes(calendar["event_name_1"], EVENT_NAMES),
            _event_codes(calendar["event_type_1"], EVENT_TYPES),
            _event_codes(calendar["event_name_2"], EVENT_NAMES),
        ],
        axis=1,
    )


def _event_codes(names: pd.Series, known: tuple[str, ...]) -> Integers:
    """Return 0 for no event, the place in `known` from 1, and one more than the last for any other event."""
    places = {"": 0} | {name: place for place, name in enumerate(known, start=1)}
    return np.array([places.get(name, len(known) + 1) for name in names], np.int32)
