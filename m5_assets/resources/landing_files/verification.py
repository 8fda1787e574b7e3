"""Reads all landed files whole and checks them against each other, before anything is written from any of them."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from m5_assets.forecasting.panel import HORIZON
from m5_assets.resources.landing_files import CALENDAR, PRICES, TOTALS, Landing
from m5_assets.resources.landing_files.bad_input import BadInput
from m5_assets.resources.landing_files.id_matching import IdMatch
from m5_assets.resources.landing_files.sales_file import SalesSummary
from m5_assets.resources.landing_files.totals_file import KEY_COLUMNS, LandedTotals
from m5_assets.settings import Limit


@dataclass(frozen=True)
class Verified:
    """What is known of landed files that may be loaded.

    Attributes:
        first_day: first day of the sales.
        last_day: last day of the sales.
        ids: how the series of sales and prices match.
        notes: what is no fault, but may not be meant.
    """

    first_day: dt.date
    last_day: dt.date
    ids: IdMatch
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the attributes as JSON."""
        return asdict(self) | {"first_day": self.first_day.isoformat(), "last_day": self.last_day.isoformat()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Return what `as_json` described."""
        first_day, last_day = (dt.date.fromisoformat(found[name]) for name in ("first_day", "last_day"))
        return cls(first_day, last_day, IdMatch(**found["ids"]), tuple(found["notes"]))


def verify(landing: Landing, *, unpriced_series: float, first_weekday: int) -> Verified:
    """Read all files and check them, each by itself and against the others; only the prices are kept in memory.

    Args:
        landing: the files.
        unpriced_series: largest share of live series that may lack a price.
        first_weekday: the weekday on which weeks begin, Monday is 0.

    Raises:
        BadInput: a file is missing or invalid, or two files contradict each other.
    """
    first_day, last_day = landing.days()  # headers first: they are read at once
    notes, calendar = tuple(landing.notes()), landing.calendar()
    _check_horizon(landing, calendar["date"].iloc[-1].date(), last_day, first_weekday)
    landing.official()
    totals, prices, sales = landing.totals(), landing.sell_prices(), landing.sales_summary()
    if totals:
        _check_totals(landing, sales, totals)
    ids = IdMatch.of(sales, prices)
    if ids.share > unpriced_series:
        limit = Limit("M5_CHECKS_UNPRICED_SERIES", unpriced_series)
        remedy = f"Write the ids alike in both files, or add the prices; {limit.remedy(ids.share)}."
        raise BadInput(landing.name_of(PRICES), ids.live_text(), remedy)
    return Verified(first_day, last_day, ids, notes)


def _check_horizon(landing: Landing, calendar_end: dt.date, last_day: dt.date, first_weekday: int) -> None:
    """Check that the calendar covers the horizon of the last full week of sales."""
    origin = last_day - dt.timedelta(days=(last_day.weekday() - first_weekday + 1) % 7)
    needed = origin + dt.timedelta(days=HORIZON)
    if calendar_end < needed:
        raise BadInput(
            landing.name_of(CALENDAR),
            f"ends on {calendar_end}, but the sales reach {origin} and are forecast through {needed}",
            f"Extend it to {needed}.",
        )


def _check_totals(landing: Landing, sales: SalesSummary, totals: LandedTotals) -> None:
    """Check that the totals are the sums of the sales where both exist; a group without units may be in one only."""
    days = range(max(sales.days[0], totals.first_day), min(sales.days[-1], totals.last_day) + 1)
    if not days:
        return
    remedy = "Land a totals file of the same extract as the sales, or remove it."
    detail = pd.DataFrame(sales.totals[:, days[0] - sales.days[0] :][:, : len(days)], index=sales.groups)
    landed = pd.DataFrame(
        totals.units[:, days[0] - totals.first_day :][:, : len(days)].astype(np.int64),
        index=pd.MultiIndex.from_frame(totals.groups[list(KEY_COLUMNS)]),
    )
    sold = [frame.index[frame.any(axis=1)] for frame in (detail, landed)]
    odd = sold[0].difference(landed.index).union(sold[1].difference(detail.index))
    if len(odd):
        problem = f"{len(odd)} store-departments are in this file or the sales but not in both"
        raise BadInput(landing.name_of(TOTALS), problem, remedy, map(", ".join, odd))
    both = detail.index.intersection(landed.index)
    wrong = np.argwhere(detail.loc[both].to_numpy() != landed.loc[both].to_numpy())
    if len(wrong):
        units = [frame.loc[both].to_numpy() for frame in (landed, detail)]
        rows = (
            f"{', '.join(both[group])}, d_{days[day]}: {units[0][group, day]} against {units[1][group, day]} summed"
            for group, day in wrong.tolist()
        )
        raise BadInput(landing.name_of(TOTALS), "contradicts the sums of the sales", remedy, rows)
