"""The sample's calendar: days, Walmart's weeks, SNAP days, and events computed by rule."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd

FIRST_DAY = date(2011, 1, 29)
"""d_1 of M5."""

SNAP_DAYS = {
    "CA": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    "TX": (1, 3, 5, 6, 7, 9, 11, 12, 13, 15),
    "WI": (2, 3, 5, 6, 8, 9, 11, 12, 14, 15),
}
"""Days of the month on which food stamps are paid out, by state."""

_MONDAY, _WEDNESDAY, _THURSDAY, _FRIDAY, _SATURDAY, _SUNDAY = 0, 2, 3, 4, 5, 6


def sample_calendar(last_day: date) -> pd.DataFrame:
    """Return the calendar from d_1 to `last_day`, with the columns of Kaggle's calendar.csv."""
    dates = pd.date_range(FIRST_DAY, last_day)
    events: dict[date, list[tuple[str, str]]] = {}
    for year in range(FIRST_DAY.year, last_day.year + 1):
        for day, name, kind in events_of(year):
            events.setdefault(day, []).append((name, kind))
    named = [(events.get(day.date(), []) + [("", "")] * 2)[:2] for day in dates]
    return pd.DataFrame(
        {
            "date": dates.strftime("%Y-%m-%d"),
            "wm_yr_wk": [walmart_week(day.date()) for day in dates],
            "weekday": dates.day_name(),
            "wday": (dates.day_of_week + 2) % 7 + 1,  # 1 is Saturday, the first day of Walmart's week
            "month": dates.month,
            "year": dates.year,
            "d": [f"d_{number}" for number in range(1, len(dates) + 1)],
            "event_name_1": [first[0] for first, _ in named],
            "event_type_1": [first[1] for first, _ in named],
            "event_name_2": [second[0] for _, second in named],
            "event_type_2": [second[1] for _, second in named],
            **{f"snap_{state}": dates.day.isin(days).astype(int) for state, days in SNAP_DAYS.items()},
        }
    )


def walmart_week(day: date) -> int:
    """Return the number of the Walmart week that contains this day: 1yyww, weeks from Saturday to Friday.

    Week 1 begins on the last Saturday up to 1 February; this rule reproduces wm_yr_wk for every day of M5.
    """
    saturday = day - timedelta((day.weekday() - _SATURDAY) % 7)
    year = saturday.year if saturday >= _fiscal_start(saturday.year) else saturday.year - 1
    return 10_000 + year % 100 * 100 + (saturday - _fiscal_start(year)).days // 7 + 1


def events_of(year: int) -> list[tuple[date, str, str]]:
    """Return the events of a year as (day, name, type), with M5's names and types.

    The dates of the NBA finals depend on the games; here they last from the first Thursday to the third Sunday of June.
    """
    return [
        (date(year, 1, 1), "NewYear", "National"),
        (date(year, 1, 7), "OrthodoxChristmas", "Religious"),
        (_nth(year, 1, _MONDAY, 3), "MartinLutherKingDay", "National"),
        (_nth(year, 2, _SUNDAY, 1), "SuperBowl", "Sporting"),
        (date(year, 2, 14), "ValentinesDay", "Cultural"),
        (_nth(year, 2, _MONDAY, 3), "PresidentsDay", "National"),
        (date(year, 3, 17), "StPatricksDay", "Cultural"),
        *_christian(year),
        *_jewish(year),
        (date(year, 5, 5), "Cinco De Mayo", "Cultural"),
        (_nth(year, 5, _SUNDAY, 2), "Mother's day", "Cultural"),
        (_nth(year, 6, _MONDAY, 1) - timedelta(7), "MemorialDay", "National"),
        (_nth(year, 6, _THURSDAY, 1), "NBAFinalsStart", "Sporting"),
        (_nth(year, 6, _SUNDAY, 3), "NBAFinalsEnd", "Sporting"),
        (_nth(year, 6, _SUNDAY, 3), "Father's day", "Cultural"),
        (date(year, 7, 4), "IndependenceDay", "National"),
        *_muslim(year),
        (_nth(year, 9, _MONDAY, 1), "LaborDay", "National"),
        (_nth(year, 10, _MONDAY, 2), "ColumbusDay", "National"),
        (date(year, 10, 31), "Halloween", "Cultural"),
        (date(year, 11, 11), "VeteransDay", "National"),
        (_nth(year, 11, _THURSDAY, 4), "Thanksgiving", "National"),
        (date(year, 12, 25), "Christmas", "National"),
    ]


def _fiscal_start(year: int) -> date:
    first = date(year, 2, 1)
    return first - timedelta((first.weekday() - _SATURDAY) % 7)


def _nth(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta((weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _christian(year: int) -> list[tuple[date, str, str]]:
    easter, orthodox = _easter(year), _orthodox_easter(year)
    return [
        (easter - timedelta(46), "LentStart", "Religious"),
        (easter - timedelta(39), "LentWeek2", "Religious"),
        (easter, "Easter", "Cultural"),
        (orthodox, "OrthodoxEaster", "Religious"),
    ]


def _jewish(year: int) -> list[tuple[date, str, str]]:
    new_year, next_new_year = _rosh_hashanah(year), _rosh_hashanah(year + 1)
    passover = new_year - timedelta(163)
    # Hanukkah begins on 25 Kislev; the month before has a 30th day only in years of 355 or 385 days.
    hanukkah = new_year + timedelta(83 + ((next_new_year - new_year).days % 30 == 25))
    return [
        (passover - timedelta(30), "Purim End", "Religious"),
        (passover + timedelta(7), "Pesach End", "Religious"),
        (hanukkah + timedelta(7), "Chanukah End", "Religious"),
    ]


def _muslim(year: int) -> list[tuple[date, str, str]]:
    found = []
    for month, day, name in ((9, 1, "Ramadan starts"), (10, 1, "Eid al-Fitr"), (12, 10, "EidAlAdha")):
        for islamic_year in (year - 580, year - 579, year - 578):
            when = _islamic(islamic_year, month, day)
            if when.year == year:
                found.append((when, name, "Religious"))
    return found


def _easter(year: int) -> date:
    """Return Easter Sunday, by the Gregorian computus of Meeus, Jones and Butcher."""
    a, (b, c) = year % 19, divmod(year, 100)
    h = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    shift = h + weekday - 7 * ((a + 11 * h + 22 * weekday) // 451)
    return date(year, 3, 22) + timedelta(shift)


def _orthodox_easter(year: int) -> date:
    """Return Orthodox Easter, by Meeus's Julian computus; the calendars are 13 days apart until 2099."""
    full_moon = (19 * (year % 19) + 15) % 30
    weekday = (2 * (year % 4) + 4 * (year % 7) - full_moon + 34) % 7
    return date(year, 3, 22) + timedelta(full_moon + weekday + 13)


def _rosh_hashanah(year: int) -> date:
    """Return the Jewish new year in this year, by the calendar's four postponements and epoch 1 Tishri AM 1."""

    def elapsed(hebrew: int) -> int:
        months = (235 * hebrew - 234) // 19
        parts = 12_084 + 13_753 * months
        days = 29 * months + parts // 25_920
        return days + (3 * (days + 1) % 7 < 3)

    hebrew = year + 3761
    before, this, after = (elapsed(hebrew + step) for step in (-1, 0, 1))
    postponed = 2 if after - this == 356 else 1 if this - before == 382 else 0
    return date.fromordinal(this + postponed - 1_373_428 + 1)


def _islamic(year: int, month: int, day: int) -> date:
    """Return a day of the tabular Islamic calendar, with a 30-year cycle and epoch 16 July 622."""
    days = day + -(-59 * (month - 1) // 2) + 354 * (year - 1) + (3 + 11 * year) // 30
    return date.fromordinal(227_014 + days)
