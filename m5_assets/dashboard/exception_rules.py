"""Which series a planner should look at this week, why, and what is at stake.

Pure rules over the rows of `m5.series_outlook`, one function a kind; each threshold is a constant with its reason. A
series may break several rules and is then listed once for each. Not here: reading the rows, and showing them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from m5_assets.dashboard import words

Row: TypeAlias = Mapping[Any, Any]

WINDOW_DAYS = 91

MIN_ZERO_DAYS = 7
"""A shorter gap holds no whole week: an item that sells at weekends is not yet missing."""
MAX_CHANCE = 1e-4
"""The gap's chance, were each day's sale independent: over 30,000 series this rule then errs about three times a week.
Sales come in clusters, so it errs more often; hence also the next two."""
MIN_USUAL_UNITS = 8.0
"""Units in 28 days below which (two a week) a gap is not news to anyone."""
GONE_DAYS = 28
"""After this long without a sale an item has dropped to zero rather than run out: it may have left the range."""

RISE_RATIO = 1.5
"""Forecast to usual sales; half as much again is more than safety stock covers."""
NOISE = 3.0
"""Standard deviations of a count: sales of n units vary by about the square root of n without any reason (Poisson)."""
MIN_RISE_UNITS = 28.0
"""A unit a day; fewer are within what a shelf holds."""

NEW_DAYS = 56
"""Two horizons: younger series have no usual sales of two 28-day periods to go by."""

PRICE_CHANGE = 0.05
"""Smaller changes of price hardly move sales."""
MIN_PRICE_UNITS = 14.0
"""Half a unit a day; for fewer a price is not worth a look."""

DISAGREEMENT = 0.5
"""Gap between the two models, relative to the forecast; beyond this the ensemble is a guess between two stories."""
MIN_GAP_UNITS = 14.0
"""Half a unit a day; a smaller gap changes no order."""

COLUMNS = ("kind", "item_id", "dept_id", "cat_id", "store_id", "state_id", "reason", "units", "money")


@dataclass(frozen=True)
class Kind:
    """A kind of exception: its name on the page, and what "units at stake" means for it."""

    key: str
    name: str
    stake: str
    rule: Callable[[pd.DataFrame, dt.date], pd.DataFrame]


def exceptions(outlook: pd.DataFrame, origin: dt.date) -> pd.DataFrame:
    """Return what breaks a rule, the most money at stake first.

    Args:
        outlook: rows of `m5.series_outlook` of one week with the hierarchy's columns.
        origin: the last day whose sales are known.

    Returns:
        The columns `COLUMNS`: units and money (dollars) at stake, the reason in words. Money is NaN without a price.
    """
    frame = outlook.astype(
        dict.fromkeys(
            ("forecast_28", "gbm_28", "lstm_28", "usual_28", "nonzero_share_91", "sell_price", "next_price"), float
        )
    )
    found = [kind.rule(frame, origin).assign(kind=kind.key) for kind in KINDS.values()]
    listed = pd.concat(found, ignore_index=True)[list(COLUMNS)]
    return listed.sort_values(
        ["money", "units", "item_id", "store_id"], ascending=[False, False, True, True]
    ).reset_index(drop=True)


def out_of_stock(outlook: pd.DataFrame, _: dt.date) -> pd.DataFrame:
    """Find series that sold regularly and then not at all; at stake is what they usually sell in 28 days.

    With a share p of the days before the gap on which something was sold, a gap of n days has the chance (1 - p)^n.
    """
    before = WINDOW_DAYS - outlook["zero_days"]
    share = (outlook["nonzero_share_91"] * WINDOW_DAYS / before.where(before > 0)).clip(upper=1.0)
    usual = outlook["usual_28"] * WINDOW_DAYS / before.where(before > 0)
    chance = (1 - share) ** outlook["zero_days"]
    hit = (outlook["zero_days"] >= MIN_ZERO_DAYS) & (chance <= MAX_CHANCE) & (usual >= MIN_USUAL_UNITS)
    rows = outlook.assign(share=share, usual=usual)[hit & outlook["sell_price"].notna()]

    def reason(row: Row) -> str:
        days = int(row["zero_days"])
        regular = f"sold on {row['share']:.0%} of the days before, {row['usual']:,.0f} units in 28 days"
        if days >= GONE_DAYS:
            return f"Dropped to zero: no sale for {days} days; {regular}. Out of the range, or out of stock?"
        return f"No sale for {days} days, though it {regular}."

    return _listed(rows, rows["usual"], rows["usual"] * rows["sell_price"], reason)


def sharp_rise(outlook: pd.DataFrame, origin: dt.date) -> pd.DataFrame:
    """Find forecasts well above usual sales; at stake is the rise."""
    rise = outlook["forecast_28"] - outlook["usual_28"]
    hit = (
        (outlook["forecast_28"] >= RISE_RATIO * outlook["usual_28"])
        & (rise >= NOISE * np.sqrt(outlook["usual_28"]))
        & (rise >= MIN_RISE_UNITS)
        & ~_is_new(outlook, origin)
    )
    rows = outlook[hit]

    def reason(row: Row) -> str:
        ahead = f"Forecast {row['forecast_28']:,.0f} units in 28 days"
        if row["usual_28"] == 0:
            return f"{ahead}, though nothing was sold in the last {WINDOW_DAYS}."
        rising = words.change(words.ratio(row["forecast_28"], row["usual_28"]), 0)
        return f"{ahead}, usual are {row['usual_28']:,.0f} ({rising}); sold {row['last_28']:,.0f} in the last 28."

    return _listed(rows, rise, rise * outlook["sell_price"], reason)


def new_item(outlook: pd.DataFrame, origin: dt.date) -> pd.DataFrame:
    """Find series first sold a short while ago; at stake is the whole forecast, which has little to go by."""
    rows = outlook[_is_new(outlook, origin)]

    def reason(row: Row) -> str:
        days = (origin - row["first_sale"]).days + 1
        return (
            f"First sold on {words.day(row['first_sale'])}, {days} days ago; "
            f"{row['last_28']:,.0f} units in the last 28 days, forecast {row['forecast_28']:,.0f}."
        )

    return _listed(rows, rows["forecast_28"], rows["forecast_28"] * rows["sell_price"], reason)


def price_change(outlook: pd.DataFrame, _: dt.date) -> pd.DataFrame:
    """Find prices that change within the forecast; at stake are the units forecast and their difference in revenue."""
    step = outlook["next_price"] / outlook["sell_price"] - 1
    hit = (step.abs() >= PRICE_CHANGE) & (outlook["forecast_28"] >= MIN_PRICE_UNITS)
    rows = outlook[hit]

    def reason(row: Row) -> str:
        verb = "rises" if row["next_price"] > row["sell_price"] else "falls"
        return (
            f"Price {verb} from {words.money(row['sell_price'])} to {words.money(row['next_price'])} "
            f"({words.change(row['next_price'] / row['sell_price'] - 1, 0)}) on {words.day(row['next_price_date'])}; "
            f"forecast {row['forecast_28']:,.0f} units in 28 days."
        )

    return _listed(
        rows, rows["forecast_28"], rows["forecast_28"] * (rows["next_price"] - rows["sell_price"]).abs(), reason
    )


def models_disagree(outlook: pd.DataFrame, _: dt.date) -> pd.DataFrame:
    """Find series whose two models differ widely; at stake is the gap."""
    gap = (outlook["gbm_28"] - outlook["lstm_28"]).abs()
    hit = (
        (gap >= DISAGREEMENT * outlook["forecast_28"])
        & (gap >= NOISE * np.sqrt(outlook["forecast_28"].clip(lower=0)))
        & (gap >= MIN_GAP_UNITS)
    )
    rows = outlook[hit]

    def reason(row: Row) -> str:
        return (
            f"GBM expects {row['gbm_28']:,.0f} units in 28 days, LSTM {row['lstm_28']:,.0f}; "
            f"the ensemble says {row['forecast_28']:,.0f}, usual are {row['usual_28']:,.0f}."
        )

    return _listed(rows, gap, gap * outlook["sell_price"], reason)


KINDS = {
    kind.key: kind
    for kind in (
        Kind("out_of_stock", "Likely out of stock", "what usually sells in 28 days", out_of_stock),
        Kind("sharp_rise", "Sharp rise", "the forecast above usual sales", sharp_rise),
        Kind("price_change", "Price change ahead", "units forecast; money: their change in revenue", price_change),
        Kind("new_item", "New item", "the whole forecast", new_item),
        Kind("models_disagree", "Models disagree", "the gap between GBM and LSTM", models_disagree),
    )
}


def _is_new(outlook: pd.DataFrame, origin: dt.date) -> pd.Series:
    first = pd.to_datetime(outlook["first_sale"])
    return first > pd.Timestamp(origin) - pd.Timedelta(days=NEW_DAYS)


def _listed(
    rows: pd.DataFrame,
    units: pd.Series,
    money: pd.Series,
    reason: Callable[[Row], str],
) -> pd.DataFrame:
    reasons = [reason(row) for row in rows.to_dict("records")]
    return rows.assign(
        reason=pd.Series(reasons, rows.index, dtype=object), units=units[rows.index], money=money[rows.index]
    )
