"""Dates of US holidays by rule, so that distances to them need no calendar beyond the horizon.

Not here: the events in the panel's calendar (`features.events`).
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt

BEFORE, AFTER = 28, 7
"""Days before and after a holiday within which its distance is a feature; further out it would only encode the date."""


def dates_of(year: int) -> dict[str, dt.date]:
    """Return the holidays of a year that affect retail sales, by name.

    The Super Bowl is on the first Sunday of February (true from 2004 to 2021); Easter follows the anonymous Gregorian
    computus.
    """
    return {
        "new_year": dt.date(year, 1, 1),
        "super_bowl": _nth_weekday(year, 2, 6, 1),
        "valentines_day": dt.date(year, 2, 14),
        "st_patricks_day": dt.date(year, 3, 17),
        "easter": _easter(year),
        "mothers_day": _nth_weekday(year, 5, 6, 2),
        "memorial_day": _nth_weekday(year, 6, 0, 1) - dt.timedelta(days=7),
        "fathers_day": _nth_weekday(year, 6, 6, 3),
        "independence_day": dt.date(year, 7, 4),
        "labor_day": _nth_weekday(year, 9, 0, 1),
        "halloween": dt.date(year, 10, 31),
        "thanksgiving": _nth_weekday(year, 11, 3, 4),
        "christmas": dt.date(year, 12, 25),
    }


def distances(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float32]:
    """Return (days, len(NAMES)) days since each holiday: negative before it, NaN far from it."""
    table = np.full((len(dates), len(NAMES)), np.nan, np.float32)
    for column, occurrences in enumerate(_occurrences(dates).T):
        gap = (dates[:, None] - occurrences[None, :]).astype("timedelta64[D]").astype(int)
        near = (gap >= -BEFORE) & (gap <= AFTER)
        rows, which = np.nonzero(near)
        table[rows, column] = gap[rows, which]
    return table


def nearest(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float32]:
    """Return (days, 2): days to the next holiday and since the last one; both zero on a holiday."""
    occurrences = np.unique(_occurrences(dates))
    day = dates.astype("datetime64[D]")
    following = occurrences[np.searchsorted(occurrences, day, side="left")]
    previous = occurrences[np.searchsorted(occurrences, day, side="right") - 1]
    return np.stack([(following - day).astype(int), (day - previous).astype(int)], axis=1).astype(np.float32)


def _occurrences(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
    years = dates[[0, -1]].astype("datetime64[Y]").astype(int) + 1970
    rows = [list(dates_of(year).values()) for year in range(years[0] - 1, years[1] + 2)]
    return np.array(rows, dtype="datetime64[D]")


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> dt.date:
    first = dt.date(year, month, 1)
    return first + dt.timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _easter(year: int) -> dt.date:
    a, b, c = year % 19, year // 100, year % 100
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    k = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    month, day = divmod(h + k - 7 * ((a + 11 * h + 22 * k) // 451) + 114, 31)
    return dt.date(year, month, day + 1)


NAMES = tuple(dates_of(2016))
"""Names of the holidays, in calendar order."""
