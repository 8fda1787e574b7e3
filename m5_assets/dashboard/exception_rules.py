"""The rules that make a series an exception: which ones a planner should look at, why, and what is at stake.

Pure functions over rows of `m5.series_outlook`, one per kind. A series that breaks several rules is listed once for
each.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from m5_assets.dashboard import formatting
from m5_assets.model_specs import MEMBER_NAMES, MEMBERS

Row: TypeAlias = Mapping[Any, Any]

WINDOW_DAYS = 91

MIN_ZERO_DAYS = 7
"""A shorter gap contains no whole week: an item that sells on weekends is not missing yet."""
MAX_CHANCE = 1e-4
"""Probability of the gap if sales were independent between days: about three false alarms per week over 30,000 series.
Sales come in clusters, so there are more; hence the next two limits."""
MIN_USUAL_UNITS = 8.0
"""Units in 28 days (two per week) below which a gap is nothing unusual."""
GONE_DAYS = 28
"""After this long without a sale, an item has dropped to zero rather than run out: it may be delisted."""

RISE_RATIO = 1.5
"""Forecast over usual sales; 50% more is beyond what safety stock covers."""
NOISE = 3.0
"""Standard deviations of a count: by chance alone, sales of n units vary by about the square root of n (Poisson)."""
MIN_RISE_UNITS = 28.0
"""One unit per day; the stock on a shelf covers less."""

NEW_DAYS = 56
"""Two horizons: a younger series does not have two 28-day periods of sales to compare with."""

PRICE_CHANGE = 0.05
"""Smaller price changes hardly affect sales."""
MIN_PRICE_UNITS = 14.0
"""Half a unit per day; below that, a price change is not worth a look."""

DISAGREEMENT = 0.5
"""Gap between the two models relative to the forecast; beyond this, their average represents neither."""
MIN_GAP_UNITS = 14.0
"""Half a unit per day; a smaller gap does not change an order."""

MEMBER_COLUMNS = tuple(f"{name}_28" for name in MEMBER_NAMES)
COLUMNS = ("kind", "item_id", "dept_id", "cat_id", "store_id", "state_id", "reason", "units", "money")


@dataclass(frozen=True)
class Kind:
    """A kind of exception: its name on the page and what "at stake" means for it."""

    key: str
    name: str
    stake: str
    rule: Callable[[pd.DataFrame, dt.date], pd.DataFrame]


def exceptions(outlook: pd.DataFrame, origin: dt.date) -> pd.DataFrame:
    """Return the exceptions of a week, sorted by money at stake, highest first.

    Args:
        outlook: one week's rows of `m5.series_outlook` with the hierarchy's columns.
        origin: the last day with known sales.

    Returns:
        The columns `COLUMNS`: units and money (dollars) at stake and the reason as a sentence. Money is NaN without a
        price.
    """
    frame = outlook.astype(
        dict.fromkeys(
            ("forecast_28", *MEMBER_COLUMNS, "usual_28", "nonzero_share_91", "sell_price", "next_price"), float
        )
    )
    found = [kind.rule(frame, origin).assign(kind=kind.key) for kind in KINDS.values()]
    listed = pd.concat(found, ignore_index=True)[list(COLUMNS)]
    return listed.sort_values(
        ["money", "units", "item_id", "store_id"], ascending=[False, False, True, True]
    ).reset_index(drop=True)


def out_of_stock(outlook: pd.DataFrame, _: dt.date) -> pd.DataFrame:
    """Find series that sold regularly and then stopped; at stake is what they usually sell in 28 days.

    If the item sold on a share p of the days before the gap, a gap of n days has the probability (1 - p)^n.
    """
    before = WINDOW_DAYS - outlook["zero_days"]
    share = (outlook["nonzero_share_91"] * WINDOW_DAYS / before.where(before > 0)).clip(upper=1.0)
    usual = outlook["usual_28"] * WINDOW_DAYS / before.where(before > 0)
    chance = (1 - share) ** outlook["zero_days"]
    hit = (outlook["zero_days"] >= MIN_ZERO_DAYS) & (chance <= MAX_CHANCE) & (usual >= MIN_USUAL_UNITS)
    rows = outlook.assign(share=share, usual=usual)[hit & outlook["sell_price"].notna()]

    def reason(row: Row) -> str:
        days = int(row["zero_days"])
        regular = f"sold on {row['share']:.0%} of the days before, usually {row['usual']:,.0f} units in 28 days"
        if days >= GONE_DAYS:
            return f"Dropped to zero: no sales for {days} days; {regular}. Delisted or out of stock?"
        return f"No sales for {days} days; {regular}."

    return _listed(rows, rows["usual"], rows["usual"] * rows["sell_price"], reason)


def sharp_rise(outlook: pd.DataFrame, origin: dt.date) -> pd.DataFrame:
    """Find forecasts well above usual sales; at stake is the increase."""
    rise = outlook["forecast_28"] - outlook["usual_28"]
    hit = (
        (outlook["forecast_28"] >= RISE_RATIO * outlook["usual_28"])
        & (rise >= NOISE * np.sqrt(outlook["usual_28"]))
        & (rise >= MIN_RISE_UNITS)
        & ~_is_new(outlook, origin)
    )
    rows = outlook[hit]

    def reason(row: Row) -> str:
        ahead = f"Forecast is {row['forecast_28']:,.0f} units in 28 days"
        if row["usual_28"] == 0:
            return f"{ahead}, although nothing was sold in the last {WINDOW_DAYS}."
        rising = formatting.change(formatting.ratio(row["forecast_28"], row["usual_28"]), 0)
        return f"{ahead}, usual is {row['usual_28']:,.0f} ({rising}); {row['last_28']:,.0f} sold in the last 28 days."

    return _listed(rows, rise, rise * outlook["sell_price"], reason)


def new_item(outlook: pd.DataFrame, origin: dt.date) -> pd.DataFrame:
    """Find series with a recent first sale; at stake is the whole forecast, which has little history behind it."""
    rows = outlook[_is_new(outlook, origin)]

    def reason(row: Row) -> str:
        days = (origin - row["first_sale"]).days + 1
        return (
            f"First sold on {formatting.day(row['first_sale'])}, {days} days ago; "
            f"{row['last_28']:,.0f} units in the last 28 days, forecast {row['forecast_28']:,.0f}."
        )

    return _listed(rows, rows["forecast_28"], rows["forecast_28"] * rows["sell_price"], reason)


def price_change(outlook: pd.DataFrame, _: dt.date) -> pd.DataFrame:
    """Find prices that change within the horizon; at stake are the forecast units and their change in revenue."""
    step = outlook["next_price"] / outlook["sell_price"] - 1
    hit = (step.abs() >= PRICE_CHANGE) & (outlook["forecast_28"] >= MIN_PRICE_UNITS)
    rows = outlook[hit]

    def reason(row: Row) -> str:
        now, then = row["sell_price"], row["next_price"]
        return (
            f"Price {'rises' if then > now else 'falls'} from {formatting.money(now)} to {formatting.money(then)} "
            f"({formatting.change(then / now - 1, 0)}) on {formatting.day(row['next_price_date'])}; "
            f"forecast is {row['forecast_28']:,.0f} units in 28 days."
        )

    return _listed(
        rows, rows["forecast_28"], rows["forecast_28"] * (rows["next_price"] - rows["sell_price"]).abs(), reason
    )


def models_disagree(outlook: pd.DataFrame, _: dt.date) -> pd.DataFrame:
    """Find series on which the ensemble's members disagree; at stake is the gap between the highest and the lowest."""
    members = outlook[list(MEMBER_COLUMNS)]
    gap = members.max(axis=1) - members.min(axis=1)
    hit = (
        (gap >= DISAGREEMENT * outlook["forecast_28"])
        & (gap >= NOISE * np.sqrt(outlook["forecast_28"].clip(lower=0)))
        & (gap >= MIN_GAP_UNITS)
    )
    rows = outlook[hit]

    def reason(row: Row) -> str:
        first, *rest = MEMBERS
        others = ", ".join(f"{member.label} {row[f'{member.name}_28']:,.0f}" for member in rest)
        return (
            f"{first.label} expects {row[f'{first.name}_28']:,.0f} units in 28 days, {others}; "
            f"the ensemble says {row['forecast_28']:,.0f}, usual is {row['usual_28']:,.0f}."
        )

    return _listed(rows, gap, gap * outlook["sell_price"], reason)


KINDS = {
    kind.key: kind
    for kind in (
        Kind("out_of_stock", "Likely out of stock", "usual sales in 28 days", out_of_stock),
        Kind("sharp_rise", "Sharp rise", "the forecast in excess of usual sales", sharp_rise),
        Kind("price_change", "Price change ahead", "forecast units and their change in revenue", price_change),
        Kind("new_item", "New item", "the whole forecast", new_item),
        Kind(
            "models_disagree",
            "Models disagree",
            f"the gap between {' and '.join(member.label for member in MEMBERS)}",
            models_disagree,
        ),
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
