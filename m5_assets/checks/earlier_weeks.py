"""A week of units in short, and how it compares with the weeks before it."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m5_assets.checks import unit_rules
from m5_assets.checks.departures import Departures
from m5_assets.checks.recording import Finding
from m5_assets.settings import CheckLimitFields, Limit


@dataclass(frozen=True)
class WeekOfUnits:
    """A week's summary, with which later weeks are compared.

    Attributes:
        keys: the series or groups.
        sold: those with any sales.
        days: the days found.
        units_a_day: units per day over all series.
        zero_share: share of rows without a sale.
        largest: largest units of one series on one day.
        largest_at: the first such series and day.
    """

    keys: pd.MultiIndex
    sold: pd.MultiIndex
    days: tuple[dt.date, ...]
    units_a_day: float
    zero_share: float
    largest: float
    largest_at: str

    @classmethod
    def of(cls, table: pa.Table, keys: Sequence[str]) -> WeekOfUnits:
        """Return the summary of a tidy table with its rows in any order."""
        days = sorted(pc.unique(table["date"]).to_pylist())
        by_key = table.group_by(list(keys)).aggregate([("units", "sum")]).to_pandas()
        index = pd.MultiIndex.from_frame(by_key[list(keys)].astype(str)).sort_values()
        sold = by_key.loc[by_key["units_sum"] > 0, list(keys)].astype(str)
        values = table["units"].to_numpy()
        top = table.slice(int(values.argmax()), 1).to_pylist()[0] if values.size else None
        return cls(
            index,
            pd.MultiIndex.from_frame(sold).sort_values(),
            tuple(days),
            float(values.sum()) / max(len(days), 1),
            float((values == 0).mean()) if values.size else 1.0,
            float(values.max(initial=0)),
            f"{'/'.join(str(top[key]) for key in keys)} on {top['date']}" if top else "",
        )


def rows_complete(
    table: pa.Table, own: WeekOfUnits, live: pd.MultiIndex, first: dt.date, last: dt.date, tolerated: Limit
) -> Finding:
    """Check that every live series is there and every series has one row per day."""
    found = unit_rules.complete(own.keys, live, unit_rules.days(own.days, first, last), tolerated)
    expected = len(own.keys) * ((last - first).days + 1)
    if found.passed and table.num_rows != expected:
        return Finding(False, f"{table.num_rows:,} rows, not one for each of {len(own.keys):,} series and day")
    return found


def live_rows_complete(
    table: pa.Table,
    own: WeekOfUnits,
    live: pd.MultiIndex,
    gone: Departures,
    first: dt.date,
    last: dt.date,
    limits: CheckLimitFields,
) -> Finding:
    """Check that every live series is there, but for what has left, and every series has one row per day.

    Args:
        table: the week's sales.
        own: their summary.
        live: the series that sold lately or were forecast to.
        gone: those that have left with their store, department or item; too many may not leave at once.
        first: the first of the week's days.
        last: the last one.
        limits: the shares that may be missing or leave.
    """
    tolerated, leaving = limits.limit("missing_series"), limits.limit("left_series")
    if gone.share <= leaving.value:
        return rows_complete(table, own, live.difference(gone.left), first, last, tolerated)
    found = rows_complete(table, own, live, first, last, tolerated)
    text = f"{gone.share:.0%} have left with whole stores, departments or items; up to {leaving.value:.0%} passes"
    return Finding(False, f"{found.text}; {text}, {leaving.remedy(gone.share)}", found.figures)


def units_in_range(
    own: WeekOfUnits,
    lowest: float,
    earlier: Sequence[WeekOfUnits],
    limits: CheckLimitFields,
    before: Callable[[WeekOfUnits], Sequence[WeekOfUnits]],
) -> Finding:
    """Check that no units are negative, or so large that a typing error is more likely than a sale.

    The earlier weeks must pass too: a bad week stays in the lake until it is corrected, and models would learn from it.
    An earlier week that was usual for its own time passes, however little is sold now.

    Args:
        own: the week.
        lowest: its lowest units.
        earlier: the weeks before it.
        limits: the factor and the floor.
        before: returns the weeks before an earlier week.
    """
    usual, limit = _usual_largest(own, earlier, limits)
    text = f"from {lowest:,.0f} to {own.largest:,.0f} units per series and day; 0 to {limit:,.0f} passes"
    figures = {"lowest": lowest, "largest": own.largest, "limit": limit}
    odd = [week for week in earlier if week.largest > limit and not _was_usual(week, before(week), limits)]
    over = [own, *odd] if own.largest > limit else odd
    if lowest < 0:
        return Finding(False, f"{text}; correct the negative units in the sales file", figures)
    if not over:
        return Finding(True, text, figures)
    factor, floor = limits.limit("units_factor"), limits.limit("units_floor")
    worst = max(week.largest for week in over)
    named = ", ".join(f"{week.largest:,.0f} of {week.largest_at}" for week in over)
    reason, remedy = (
        (f"{factor} times the usual largest, {usual:,.0f}", factor.remedy(worst / usual))
        if limit > floor.value
        else (f"{floor}", floor.remedy(worst))
    )
    return Finding(False, f"{text} ({reason}), but not {named}; correct the sales file, or {remedy}", figures)


def _usual_largest(own: WeekOfUnits, earlier: Sequence[WeekOfUnits], limits: CheckLimitFields) -> tuple[float, float]:
    """Return the usual largest units of one series and day in weeks with sales, and how many pass."""
    sold = [week.largest for week in (*earlier, own) if week.largest > 0]
    usual = statistics.median_low(sold) if sold else 0.0
    return usual, max(limits.units_factor * usual, limits.units_floor)


def _was_usual(week: WeekOfUnits, before: Sequence[WeekOfUnits], limits: CheckLimitFields) -> bool:
    """Return whether a week's units passed by the weeks before it; False if those had no sales to compare with."""
    return any(each.largest > 0 for each in before) and week.largest <= _usual_largest(week, before, limits)[1]


def drifts(own: WeekOfUnits, earlier: Sequence[WeekOfUnits], limits: CheckLimitFields) -> dict[str, Finding]:
    """Compare a week's volume and share of zeros with the weeks before."""
    volumes = [week.units_a_day for week in earlier]
    zeros = [week.zero_share for week in earlier if week.largest > 0]
    return {
        "volume_drift": unit_rules.in_band(own.units_a_day, volumes, limits.limit("volume_band"), "units per day"),
        "zero_share_drift": unit_rules.near(own.zero_share, zeros, limits.limit("zero_share_band"), "share of zeros"),
    }
