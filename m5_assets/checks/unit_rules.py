"""What must hold of any table of units a day, sales or forecasts: complete, finite, not negative, no sudden drift.

Not here: where such tables lie (the modules named like the assets').
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.checks.recording import Finding

_NAMED = 5


def schema(table: pa.Table, expected: pa.Schema) -> Finding:
    """Compare columns and types; a dictionary of strings counts as strings."""
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
    """Return the days from first to last that were not found, or were found outside."""
    expected = {first + dt.timedelta(days=i) for i in range((last - first).days + 1)}
    return sorted(expected ^ set(found))


def complete(
    series: pd.MultiIndex, live: pd.MultiIndex, odd_days: Sequence[dt.date], tolerated: float = 0.0
) -> Finding:
    """Every live series must be there, on exactly its days.

    Args:
        series: those of the table, which has a row for each of them and each day.
        live: those that must be there.
        odd_days: missing or superfluous days (`days`).
        tolerated: share of the live series that may be missing.
    """
    missing = live.difference(series)
    share = len(missing) / max(len(live), 1)
    problems = [f"day {odd_days[0]} is missing or superfluous, {len(odd_days)} such days"] if odd_days else []
    if share > tolerated:
        names = ", ".join("/".join(map(str, key)) for key in missing[:_NAMED])
        problems.append(f"{len(missing)} of {len(live)} live series are missing ({share:.1%}), such as {names}")
    if not len(series):
        problems.append("no series at all")
    figures = {"series": len(series), "live_series": len(live), "missing_series": len(missing)}
    return Finding(not problems, "; ".join(problems) or f"{len(series):,} series, every day", figures)


def finite_and_not_negative(values: npt.NDArray[np.number], what: str) -> Finding:
    """Every value must be a number from 0 on."""
    broken, negative = int((~np.isfinite(values)).sum()), int((values < 0).sum())
    figures = {"values": int(values.size), "not_finite": broken, "negative": negative}
    if broken or negative or not values.size:
        return Finding(
            False, f"{what}: of {values.size:,} values {broken} are no numbers, {negative} negative", figures
        )
    return Finding(True, f"{what}: {values.size:,} values from {values.min():.3g} to {values.max():.3g}", figures)


def in_band(value: float, history: Sequence[float], band: float, what: str) -> Finding:
    """Compare a total with the median of earlier ones: it must lie within (1 - band) to (1 + band) of it."""
    if not history:
        return Finding(True, f"{what}: nothing earlier to compare with", {"value": value})
    usual = float(np.median(history))
    ratio = value / usual if usual else (1.0 if value == usual else float("inf"))
    text = f"{what}: {value:,.0f}, {ratio:.2f} of the usual {usual:,.0f}; {1 - band:.2f} to {1 + band:.2f} passes"
    return Finding(abs(ratio - 1) <= band, text, {"value": value, "usual": usual, "ratio": ratio})


def near(value: float, history: Sequence[float], distance: float, what: str) -> Finding:
    """Compare a share with the median of earlier ones: it may differ by `distance`."""
    if not history:
        return Finding(True, f"{what}: nothing earlier to compare with", {"value": value})
    usual = float(np.median(history))
    text = f"{what}: {value:.3f}, usually {usual:.3f}; a difference up to {distance} passes"
    return Finding(abs(value - usual) <= distance, text, {"value": value, "usual": usual})
