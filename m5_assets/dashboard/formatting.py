"""Format numbers and dates for display; the functions are also the templates' filters."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

DASH = "\N{EN DASH}"
"""Shown instead of a missing number."""

_MINUS = "\N{MINUS SIGN}"
_LARGE, _MANY = 1e6, 100


def missing(value: Any) -> bool:
    """Return whether a value is None, NaN or NaT."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value != value


def units(value: float | None) -> str:
    """Return units as a whole number: 12,345."""
    return DASH if missing(value) else _signed(f"{value:,.0f}")


def decimal(value: float | None, digits: int = 3) -> str:
    """Return a score: 0.537."""
    return DASH if missing(value) else _signed(f"{value:,.{digits}f}")


def money(value: float | None) -> str:
    """Return dollars, with cents below a hundred and in millions from a million."""
    if value is None or missing(value):
        return DASH
    size = abs(value)
    if size >= _LARGE:
        return _signed(f"{'-' if value < 0 else ''}${size / _LARGE:,.2f} M")
    return _signed(f"{'-' if value < 0 else ''}${size:,.{0 if size >= _MANY else 2}f}")


def percent(value: float | None, digits: int = 1) -> str:
    """Return a ratio as a percentage without a plus sign: 62.5%."""
    return DASH if missing(value) else _signed(f"{value:.{digits}%}")


def change(value: float | None, digits: int = 1) -> str:
    """Return a relative change with its sign (+4.2%), from tenfold on as a factor."""
    if value is None or missing(value) or math.isinf(value):
        return DASH
    return f"\N{MULTIPLICATION SIGN}{value + 1:,.0f}" if value >= 10 else _signed(f"{value:+.{digits}%}")


def difference(value: float | None) -> str:
    """Return a change in units with its sign: +1,234."""
    return DASH if missing(value) else _signed(f"{value:+,.0f}")


def day(value: dt.date | None) -> str:
    """Return a date: 16 May 2016."""
    return DASH if value is None or missing(value) else f"{value.day} {value:%b %Y}"


def short_day(value: dt.date | None) -> str:
    """Return a date without its year: Mon 16 May."""
    return DASH if value is None or missing(value) else f"{value:%a} {value.day} {value:%b}"


def moment(value: dt.datetime | None) -> str:
    """Return a time: 16 May 2016, 02:14 UTC."""
    if value is None or missing(value):
        return DASH
    return f"{day(value)}, {value.astimezone(dt.UTC):%H:%M} UTC"


def ratio(value: float | None, base: float | None) -> float | None:
    """Return the relative change from `base` to `value`, or None without a base."""
    if value is None or base is None or missing(value) or missing(base) or not base:
        return None
    return value / base - 1


FILTERS: dict[str, Callable[..., str]] = {
    f.__name__: f for f in (units, decimal, money, percent, change, difference, day, short_day, moment)
}


def _signed(text: str) -> str:
    return text.replace("-", _MINUS)
