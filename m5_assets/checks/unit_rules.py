"""Rules for any table of daily units, sales or forecasts: complete, finite, not negative, no sudden drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.checks.recording import Finding
from m5_assets.settings import Limit

_NAMED = 5


def schema(table: pa.Table, expected: pa.Schema) -> Finding:
    """Check columns, types and empty cells; dictionary-encoded strings count as strings."""
    found = {field.name: _plain(field.type) for field in table.schema}
    wanted = {field.name: _plain(field.type) for field in expected}
    problems = [f"no column {name}" for name in wanted if name not in found]
    problems += [f"unknown column {name}" for name in found if name not in wanted]
    problems += [
        f"{name} is {found[name]}, not {kind}" for name, kind in wanted.items() if found.get(name, kind) != kind
    ]
    nulls = {name: table[name].null_count for name in found if table[name].null_count}
    problems += [f"{name} has {count} empty cells" for name, count in nulls.items()]
    return Finding(not problems, "; ".join(problems) or f"{len(found)} columns of the expected types, none empty")


def _plain(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return "string" if pa.types.is_large_string(kind) else str(kind)


def days(found: Sequence[dt.date], first: dt.date, last: dt.date) -> list[dt.date]:
    """Return the days from `first` to `last` that are missing, and the found days outside of them."""
    expected = {first + dt.timedelta(days=i) for i in range((last - first).days + 1)}
    return sorted(expected ^ set(found))


def complete(
    series: pd.MultiIndex, live: pd.MultiIndex, odd_days: Sequence[dt.date], tolerated: Limit | None = None
) -> Finding:
    """Check that every live series is there, with exactly the expected days.

    Args:
        series: the table's series, each with a row for every day.
        live: the series that must be there.
        odd_days: missing or unexpected days, from `days`.
        tolerated: share of the live series that may be missing; None: none.
    """
    missing = live.difference(series)
    share = len(missing) / max(len(live), 1)
    problems = [f"day {odd_days[0]} is missing or unexpected, {len(odd_days)} such days"] if odd_days else []
    if share > (tolerated.value if tolerated else 0.0):
        names = ", ".join("/".join(map(str, key)) for key in missing[:_NAMED])
        text = f"{len(missing)} of {len(live)} live series are missing ({share:.1%}), such as {names}"
        limit = f"; up to {tolerated.value:.1%} passes, {tolerated.remedy(share)}" if tolerated else ""
        problems.append(text + limit)
    if not len(series):
        problems.append("no series at all")
    figures = {"series": len(series), "live_series": len(live), "missing_series": len(missing)}
    return Finding(not problems, "; ".join(problems) or f"{len(series):,} series, every day", figures)


def finite_and_not_negative(values: npt.NDArray[np.number], what: str) -> Finding:
    """Check that every value is finite and not negative."""
    broken, negative = int((~np.isfinite(values)).sum()), int((values < 0).sum())
    figures = {"values": int(values.size), "not_finite": broken, "negative": negative}
    if broken or negative or not values.size:
        return Finding(
            False, f"{what}: of {values.size:,} values, {broken} are not finite and {negative} are negative", figures
        )
    return Finding(True, f"{what}: {values.size:,} values from {values.min():.3g} to {values.max():.3g}", figures)


def in_band(value: float, history: Sequence[float], band: Limit, what: str) -> Finding:
    """Check that a total lies between (1 - band) and (1 + band) times the median of earlier ones.

    Earlier totals of zero are left out: a week in which everything was closed says nothing of what is usual.
    """
    sold = [each for each in history if each > 0]
    if not sold:
        return Finding(True, f"{what}: {value:,.0f}; no earlier weeks with sales to compare with", {"value": value})
    usual = float(np.median(sold))
    text = f"{what}: {value:,.0f}, {value / usual:.2f} of the usual {usual:,.0f}"
    text += f"; {max(1 - band.value, 0):.2f} to {1 + band.value:.2f} passes ({band})"
    distance = abs(value / usual - 1)
    passed = distance <= band.value
    figures = {"value": value, "usual": usual, "ratio": value / usual}
    return Finding(passed, text if passed else f"{text}; {band.remedy(distance)}", figures)


def near(value: float, history: Sequence[float], distance: Limit, what: str) -> Finding:
    """Check that a share differs by at most `distance` from the median of earlier ones."""
    if not history:
        return Finding(True, f"{what}: no earlier weeks with sales to compare with", {"value": value})
    usual = float(np.median(history))
    text = f"{what}: {value:.3f}, usually {usual:.3f}; a difference up to {distance.value} passes ({distance})"
    passed = abs(value - usual) <= distance.value
    return Finding(
        passed,
        text if passed else f"{text}; {distance.remedy(abs(value - usual))}",
        {"value": value, "usual": usual},
    )
