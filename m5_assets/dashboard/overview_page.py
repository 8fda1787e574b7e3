"""The Overview page: the week's forecast against the last 28 days and the same weeks last year."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from m5_assets.dashboard import formatting, plotly_figures
from m5_assets.dashboard.database import Reader
from m5_assets.dashboard.scope import Scope
from m5_assets.model_specs import AVERAGE, ENSEMBLE, MEMBER_NAMES, TOTALS
from m5_assets.weeks import Week

YEAR = dt.timedelta(days=364)
"""52 whole weeks, so that weekdays match."""
HISTORY_DAYS = 91
MOVERS = 8

_SUMS = ("last_28", "last_year_28", "forecast_28")
_GROUPS = (("State", "state", "state_id"), ("Store", "store", "store_id"), ("Category", "cat", "cat_id"))

# Totals come from the store-department tables: they are small and go back years.
_STORE_DEPTS = """
WITH dept AS (SELECT DISTINCT dept_id, cat_id FROM m5.item),
sold AS (
    SELECT store_id, dept_id,
        sum(units) FILTER (WHERE date > :origin - 28 AND date <= :origin) AS last_28,
        sum(units) FILTER (WHERE date > :year_before AND date <= :year_before + 28) AS last_year_28
    FROM m5.store_dept_sales
    WHERE (date > :origin - 28 AND date <= :origin) OR (date > :year_before AND date <= :year_before + 28)
    GROUP BY store_id, dept_id
),
ahead AS (
    SELECT store_id, dept_id, sum(ensemble::float8) AS forecast_28
    FROM m5.store_dept_forecast WHERE week = :week GROUP BY store_id, dept_id
)
SELECT state_id, store_id, cat_id, dept_id, last_28, last_year_28, forecast_28
FROM ahead JOIN m5.store USING (store_id) JOIN dept USING (dept_id) LEFT JOIN sold USING (store_id, dept_id)
ORDER BY store_id, dept_id
"""

_REVENUE = """
SELECT sum(forecast_28 * sell_price)::float8 AS forecast, sum(last_28 * sell_price)::float8 AS sold, count(*) AS series
FROM m5.series_outlook WHERE week = :week
"""

_MOVERS = """
SELECT h.item_id, h.store_id, o.last_28, o.forecast_28::float8, (o.forecast_28 - o.last_28)::float8 AS units,
    ((o.forecast_28 - o.last_28) * o.sell_price)::float8 AS money
FROM (
    SELECT * FROM m5.series_outlook WHERE week = :week AND sell_price IS NOT NULL
    ORDER BY (forecast_28 - last_28) * sell_price * :sign DESC, series_id LIMIT :count
) o JOIN m5.series_hierarchy h USING (series_id)
ORDER BY (o.forecast_28 - o.last_28) * o.sell_price * :sign DESC, h.series_id
"""

_DAILY_SALES = f"""
SELECT s.date, sum(s.units)::float8 AS units
FROM m5.store_dept_sales s JOIN m5.store USING (store_id)
JOIN (SELECT DISTINCT dept_id, cat_id FROM m5.item) d USING (dept_id)
CROSS JOIN LATERAL (SELECT state_id, store_id, cat_id, dept_id, CAST(NULL AS text) AS item_id) h
WHERE s.date BETWEEN :first AND :last AND {Scope.WHERE}
GROUP BY s.date ORDER BY s.date
"""  # noqa: S608  # our own text, every value bound


def sums(columns: Sequence[str]) -> str:
    """Return the SQL that sums these columns of a forecast's table under their own names."""
    return ", ".join(f"sum({name})::float8 AS {name}" for name in columns)


_DAILY_FORECAST = f"""
SELECT f.date, {sums((*MEMBER_NAMES, AVERAGE, TOTALS.name, ENSEMBLE))}
FROM m5.store_dept_forecast f JOIN m5.store USING (store_id)
JOIN (SELECT DISTINCT dept_id, cat_id FROM m5.item) d USING (dept_id)
CROSS JOIN LATERAL (SELECT state_id, store_id, cat_id, dept_id, CAST(NULL AS text) AS item_id) h
WHERE f.week = :week AND {Scope.WHERE}
GROUP BY f.date ORDER BY f.date
"""  # noqa: S608

_EVENTS = """
SELECT date, concat_ws(', ', event_name_1, event_name_2) AS name FROM m5.calendar
WHERE date BETWEEN :first AND :last AND event_name_1 IS NOT NULL ORDER BY date
"""


@dataclass(frozen=True)
class Row:
    """A row of the comparison: a place or category with its units."""

    name: str
    scope: Scope
    last_28: float
    last_year_28: float | None
    forecast_28: float

    @property
    def against_last(self) -> float | None:
        """Relative change against the last 28 days."""
        return formatting.ratio(self.forecast_28, self.last_28)

    @property
    def against_year(self) -> float | None:
        """Relative change against the same weeks last year."""
        return formatting.ratio(self.forecast_28, self.last_year_28)


@dataclass(frozen=True)
class Revenue:
    """Revenue in dollars at the prices on the origin, and the number of series."""

    forecast: float
    sold: float
    series: int


@dataclass(frozen=True)
class DailyTotals:
    """Daily numbers of all stores together.

    Attributes:
        sold: date, units, including days after the origin whose sales are known.
        ahead: date, ensemble.
        last_year: date (shifted to this year), units.
        events: date, name.
    """

    sold: pd.DataFrame
    ahead: pd.DataFrame
    last_year: pd.DataFrame
    events: pd.DataFrame

    def figure(self) -> plotly_figures.Figure:
        """Return the chart."""
        return plotly_figures.daily(self.sold, self.ahead, last_year=self.last_year, events=self.events)

    def table(self) -> pd.DataFrame:
        """Return the chart's numbers, newest day first: date, units, ensemble, last_year."""
        before = self.last_year.rename(columns={"units": "last_year"})
        days = self.sold.merge(self.ahead.merge(before, on="date", how="left"), on="date", how="outer")
        return days.sort_values("date", ascending=False)


def comparison(reader: Reader, week: Week) -> list[tuple[str, list[Row]]]:
    """Return the rows by group: total, states, stores, categories."""
    parts = reader.frame(_STORE_DEPTS, week=week.first_day, origin=week.origin, year_before=week.origin - YEAR).astype(
        dict.fromkeys(_SUMS, float)
    )
    groups = [("Total", [_row("All stores", Scope(), parts)])]
    for group, level, column in _GROUPS:
        rows = [_row(str(name), Scope(**{level: str(name)}), part) for name, part in parts.groupby(column)]
        groups.append((group, rows))
    return groups


def revenue(reader: Reader, week: Week) -> Revenue:
    """Return the revenue of the forecast and of the last 28 days."""
    row = reader.frame(_REVENUE, week=week.first_day).iloc[0]
    return Revenue(float(row["forecast"] or 0), float(row["sold"] or 0), int(row["series"]))


def movers(reader: Reader, week: Week, *, up: bool) -> pd.DataFrame:
    """Return the series whose forecast differs most from their last 28 days, in dollars at the origin's prices."""
    return reader.frame(_MOVERS, week=week.first_day, sign=1 if up else -1, count=MOVERS)


def daily_sales(reader: Reader, scope: Scope, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return the daily units (date, units) of a place above the items."""
    return reader.frame(_DAILY_SALES, first=first, last=last, **scope.parameters)


def daily_forecast(reader: Reader, scope: Scope, week: Week) -> pd.DataFrame:
    """Return the 28 days forecast (date, one column per model) of a place above the items."""
    return reader.frame(_DAILY_FORECAST, week=week.first_day, **scope.parameters)


def last_year(reader: Reader, scope: Scope, week: Week) -> pd.DataFrame:
    """Return the units of the same weeks last year, with dates shifted to this year."""
    first, last = week.origin + dt.timedelta(days=1), week.last_forecast_day
    sold = daily_sales(reader, scope, first - YEAR, last - YEAR)
    return sold.assign(date=[day + YEAR for day in sold["date"]])


def events(reader: Reader, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return the calendar's events: date, name."""
    return reader.frame(_EVENTS, first=first, last=last)


def daily_totals(reader: Reader, week: Week) -> DailyTotals:
    """Return the history, forecast, last year and events of all stores together."""
    begin = week.origin - dt.timedelta(days=HISTORY_DAYS - 1)
    return DailyTotals(
        daily_sales(reader, Scope(), begin, week.last_forecast_day),
        daily_forecast(reader, Scope(), week)[["date", "ensemble"]],
        last_year(reader, Scope(), week),
        events(reader, begin, week.last_forecast_day),
    )


def _row(name: str, scope: Scope, part: pd.DataFrame) -> Row:
    past = part["last_year_28"]
    return Row(
        name,
        scope,
        float(part["last_28"].sum()),
        float(past.sum()) if past.notna().any() else None,
        float(part["forecast_28"].sum()),
    )
