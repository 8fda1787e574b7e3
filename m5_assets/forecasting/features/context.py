"""The arrays that features are computed from: the panel's own and those of its series' groups.

They cover all days, so each kernel must read only what is known at a row's origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting import holidays
from m5_assets.forecasting.features.base import Integers, Matrix, Rows
from m5_assets.forecasting.features.cumulative import Sums
from m5_assets.forecasting.features.group_totals import Aggregates
from m5_assets.forecasting.panel import HORIZON, Panel

EVENT_NAMES = (
    *("Chanukah End", "Christmas", "Cinco De Mayo", "ColumbusDay", "Easter", "Eid al-Fitr", "EidAlAdha"),
    *("Father's day", "Halloween", "IndependenceDay", "LaborDay", "LentStart", "LentWeek2", "MartinLutherKingDay"),
    *("MemorialDay", "Mother's day", "NBAFinalsEnd", "NBAFinalsStart", "NewYear", "OrthodoxChristmas"),
    *("OrthodoxEaster", "Pesach End", "PresidentsDay", "Purim End", "Ramadan starts", "StPatricksDay", "SuperBowl"),
    *("Thanksgiving", "ValentinesDay", "VeteransDay"),
)
"""The events of the M5 calendar. An event's code is its position here, from 1; a fixed list keeps codes stable."""

EVENT_TYPES = ("Cultural", "National", "Religious", "Sporting")


@dataclass(frozen=True)
class Context:
    """Arrays over N series, T known days and the 28 days after them; the groups are those of all stores.

    Attributes:
        sales: (N, T) daily units sold.
        price: (N, T + 28) price; NaN where not offered.
        release: (N,) first day with a price.
        first_sale: (N,) the panel's first day with a sale; T if there is none.
        codes: for each level of `aggregates.GROUPS`, (N,) the series' group, numbered in the order of the sorted keys.
        totals: for each level, (groups, T) daily units sold by the group.
        sums: for each level, (groups, T + 1) units sold by the group before each day.
        mean_price: for the levels store_dept, store_cat and item, (groups, T + 28) mean price of the series on offer.
        offered: (items, T + 28) number of stores that offer the item.
        closed: (stores, T + 28) whether a store is closed, 0 or 1; always 0 for stores that are not in the panel.
        snap: (S, T + 28) SNAP days of each state, 0 or 1.
        dates: (T + 28,) datetime64[D].
        event: (T + 28, 3) codes of the first event, its type and the second event; 0 for none.
        holiday_distance: (T + 28, len(holidays.NAMES)) days since each holiday; NaN far from it.
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
    closed: Matrix
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
    def build(cls, panel: Panel, aggregates: Aggregates | None = None) -> Context:
        """Return the context of a panel; it takes about as much memory as the panel itself.

        Args:
            panel: all series, or some of them, such as one store's.
            aggregates: aggregates of all series; None if the panel contains all of them.
        """
        groups = aggregates or Aggregates.of([panel])
        sales, price = np.ascontiguousarray(panel.sales), np.ascontiguousarray(panel.price)
        sold = sales > 0
        dates = panel.calendar["date"].to_numpy().astype("datetime64[D]")
        return cls(
            sales=sales,
            price=price,
            release=panel.release.astype(np.int32),
            first_sale=np.where(sold.any(axis=1), sold.argmax(axis=1), panel.days).astype(np.int32),
            codes=groups.codes(panel.series),
            totals=groups.totals,
            sums=groups.sums,
            mean_price=groups.mean_price,
            offered=groups.offered,
            closed=panel.closed.of([store for (store,) in groups.keys["store"]], dates).astype(np.float32),
            snap=np.ascontiguousarray(panel.snap().T.astype(np.float32)),
            dates=dates,
            event=_events(panel.calendar),
            holiday_distance=holidays.distances(dates),
            holiday_nearest=holidays.nearest(dates),
            series=panel.series,
        )

    def horizon_rows(self, store: str) -> Rows:
        """Return a store's prediction rows: its series in the panel's order, each with the days T..T+27."""
        series = np.flatnonzero(self.series["store_id"].to_numpy(str) == store).astype(np.int32)
        if not len(series):
            raise ValueError(f"no series of store {store!r} in the panel; its stores are {', '.join(self.stores)}")
        ahead = np.arange(1, HORIZON + 1, dtype=np.int32)
        horizon = np.tile(ahead, len(series))
        return Rows(np.repeat(series, HORIZON), self.days - 1 + horizon, horizon)


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
    """Return each name's position in `known`, from 1; 0 for no event, and one more than the last for unknown events."""
    places = {"": 0} | {name: place for place, name in enumerate(known, start=1)}
    return np.array([places.get(name, len(known) + 1) for name in names], np.int32)
