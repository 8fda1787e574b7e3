"""The Explore page: history, forecasts, prices and events of one place in the hierarchy, the level below, item search.

Above the items, daily numbers come from the store-department totals, which go back years; an item's come from its
series.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import pandas as pd

from m5_assets.dashboard import formatting, overview_page
from m5_assets.dashboard.database import NotFound, Reader
from m5_assets.dashboard.plotly_figures import Figure, daily
from m5_assets.dashboard.scope import Scope
from m5_assets.model_specs import FORECASTS
from m5_assets.weeks import Week

SPANS = {91: "3 months", 182: "6 months", 364: "1 year", 728: "2 years"}
"""Days of history a user can choose, and their labels."""
DEFAULT_SPAN = 91
PAGE_ROWS = 50
SEARCH_ROWS = 30

USUAL_DAYS = 91
"""The usual price is the median of the previous 91 days: a quarter is longer than any promotion."""
PROMOTION = 0.97
"""A price below this share of the usual one is a promotion; a few cents less is not."""

_COLUMNS = {"state": "state_id", "store": "store_id", "cat": "cat_id", "dept": "dept_id", "item": "item_id"}

_SERIES = f"SELECT series_id FROM m5.series_hierarchy h WHERE {Scope.WHERE} ORDER BY series_id LIMIT :count"  # noqa: S608

_GOODS = """
SELECT DISTINCT dept_id, cat_id FROM m5.item
WHERE CASE WHEN CAST(:item AS text) IS NULL THEN dept_id = :dept ELSE item_id = :item END
"""

_ITEM_SALES = """
SELECT date, sum(units)::float8 AS units, avg(sell_price)::float8 AS price FROM m5.sales
WHERE week BETWEEN :first_week AND :last_week AND date >= :first AND series_id = ANY(:series)
GROUP BY date ORDER BY date
"""

_ITEM_FORECAST = f"""
SELECT date, avg(sell_price)::float8 AS price, {overview_page.sums(FORECASTS)}
FROM m5.forecast WHERE week = :week AND series_id = ANY(:series) GROUP BY date ORDER BY date
"""  # noqa: S608  # our own text, every value bound

_BELOW = """
SELECT h.{column} AS name, count(*) AS series, sum(o.last_28)::float8 AS last_28,
    sum(o.last_year_28)::float8 AS last_year_28, sum(o.forecast_28)::float8 AS forecast_28,
    sum(o.forecast_28 * o.sell_price)::float8 AS revenue, count(*) OVER () AS total
FROM m5.series_outlook o JOIN m5.series_hierarchy h USING (series_id)
WHERE o.week = :week AND {where}
GROUP BY h.{column} ORDER BY {order} LIMIT :limit OFFSET :offset
"""

_SEARCH = """
SELECT item_id, dept_id, cat_id FROM m5.item WHERE item_id ILIKE :pattern ESCAPE '!' ORDER BY item_id LIMIT :count
"""

_CHOICES = """
SELECT 'state' AS level, state_id AS value FROM m5.store UNION SELECT 'store', store_id FROM m5.store
WHERE CAST(:state AS text) IS NULL OR state_id = :state UNION SELECT 'cat', cat_id FROM m5.item
UNION SELECT 'dept', dept_id FROM m5.item WHERE CAST(:cat AS text) IS NULL OR cat_id = :cat ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Place:
    """A place's daily numbers.

    Attributes:
        history: date, units and, for an item, price (mean of its stores).
        forecast: date, one column per model and, for an item, price.
        last_year: date (shifted to this year), units.
        events: date, name.
        price: date, price, usual, promotion; None above the items.
    """

    history: pd.DataFrame
    forecast: pd.DataFrame
    last_year: pd.DataFrame
    events: pd.DataFrame
    price: pd.DataFrame | None

    def figure(self) -> Figure:
        """Return the chart."""
        return daily(self.history, self.forecast, last_year=self.last_year, events=self.events, price=self.price)

    def table(self) -> pd.DataFrame:
        """Return one row per day, oldest first, for the chart's table and the downloads."""
        ahead = self.forecast.drop(columns="price", errors="ignore")
        days = self.history[["date", "units"]].rename(columns={"units": "sold"}).merge(ahead, on="date", how="outer")
        days = days.merge(self.last_year.rename(columns={"units": "last_year"}), on="date", how="left")
        if self.price is not None:
            days = days.merge(self.price, on="date", how="left")
        return days.merge(self.events.rename(columns={"name": "event"}), on="date", how="left").sort_values("date")


def settled(reader: Reader, scope: Scope) -> Scope:
    """Return the scope with its parents filled in; if two levels contradict each other, the upper one wins.

    This completes the breadcrumb trail, and choosing another state drops the old state's store.
    """
    state = reader.value("SELECT state_id FROM m5.store WHERE store_id = :store", store=scope.store)
    if state is not None:
        scope = replace(scope, state=scope.state or state, store=scope.store if scope.state in (None, state) else None)
    goods = reader.frame(_GOODS, item=scope.item, dept=scope.dept)
    if not goods.empty:
        cat, dept = str(goods["cat_id"].iloc[0]), str(goods["dept_id"].iloc[0])
        fits = scope.cat in (None, cat) and (scope.item is None or scope.dept in (None, dept))
        scope = (
            replace(scope, cat=cat, dept=dept)
            if fits
            else replace(scope, dept=scope.dept if scope.item else None, item=None)
        )
    return scope


def place(reader: Reader, scope: Scope, week: Week, days: int) -> Place:
    """Return a place's history of `days` up to the origin, its forecast, and what has been sold since.

    Raises:
        NotFound: if the place has no series, or none that the week forecasts.
    """
    # Above the items, one series is enough to know that the place exists; its numbers come from the totals.
    series = reader.frame(_SERIES, count=None if scope.item else 1, **scope.parameters)
    if series.empty:
        raise NotFound(f"There are no sales of {scope.name}: choose a place or search for an item on the Explore page.")
    numbers = [int(number) for number in series["series_id"]]
    shown = _group(reader, scope, week, days) if scope.item is None else _item(reader, numbers, week, days)
    if shown.forecast.empty:
        raise NotFound(
            f"Week {week} has no forecast of {scope.name}, which was not yet or no longer in that week's sales: choose "
            "another week or another place."
        )
    return shown


def _group(reader: Reader, scope: Scope, week: Week, days: int) -> Place:
    first, last = week.origin - dt.timedelta(days=days - 1), week.last_forecast_day
    return Place(
        overview_page.daily_sales(reader, scope, first, last),
        overview_page.daily_forecast(reader, scope, week),
        overview_page.last_year(reader, scope, week),
        overview_page.events(reader, first, last),
        None,
    )


def _item(reader: Reader, series: list[int], week: Week, days: int) -> Place:
    first, last = week.origin - dt.timedelta(days=days - 1), week.last_forecast_day
    # One query covers the window and, if it is shorter than a year, the same weeks of last year.
    begin = min(first - dt.timedelta(days=USUAL_DAYS), week.origin - overview_page.YEAR)
    sold = reader.frame(
        _ITEM_SALES, first=begin, first_week=begin - dt.timedelta(days=6), last_week=last, series=series
    )
    ahead = reader.frame(_ITEM_FORECAST, week=week.first_day, series=series)
    before = sold.loc[[week.origin - overview_page.YEAR < day <= last - overview_page.YEAR for day in sold["date"]]]
    price = prices(pd.concat([sold.loc[[d <= week.origin for d in sold["date"]]], ahead])[["date", "price"]])
    return Place(
        sold[sold["date"] >= first],
        ahead,
        before[["date", "units"]].assign(date=[day + overview_page.YEAR for day in before["date"]]),
        overview_page.events(reader, first, last),
        price[price["date"] >= first],
    )


def prices(price: pd.DataFrame) -> pd.DataFrame:
    """Return date, price, usual (median of the previous `USUAL_DAYS`) and promotion (well below usual).

    Args:
        price: date and price (NaN if not offered), one row per day in order.
    """
    usual = price["price"].shift(1).rolling(USUAL_DAYS, min_periods=USUAL_DAYS // 3).median()
    return price.assign(usual=usual, promotion=(price["price"] < PROMOTION * usual).fillna(value=False))


def below(reader: Reader, scope: Scope, week: Week, page: int) -> pd.DataFrame:
    """Return one page of the level below: name, series, 28-day sums, revenue, and `total` (rows on all pages).

    Items, and the stores of an item or a department, come with the largest forecast first; the others by name.
    """
    level = scope.below
    if level is None:
        return pd.DataFrame()
    column = _COLUMNS[level]
    order = "forecast_28 DESC, name" if level in ("item", "store") and (scope.item or scope.dept) else "name"
    return reader.frame(
        _BELOW.format(column=column, where=Scope.WHERE, order=order),
        week=week.first_day,
        limit=PAGE_ROWS,
        offset=(page - 1) * PAGE_ROWS,
        **scope.parameters,
    )


def search(reader: Reader, words_typed: str) -> pd.DataFrame:
    """Return the items (item_id, dept_id, cat_id) whose name contains the typed text; a space matches any character."""
    typed = words_typed.strip()
    for special in ("!", "%", "_"):
        typed = typed.replace(special, f"!{special}")
    typed = typed.replace(" ", "_")  # any one character
    return reader.frame(_SEARCH, pattern=f"%{typed}%", count=SEARCH_ROWS)


def choices(reader: Reader, scope: Scope) -> dict[str, list[str]]:
    """Return the options of each selector, limited to the stores of a chosen state and departments of a category."""
    found = reader.frame(_CHOICES, state=scope.state, cat=scope.cat)
    return {level: found.loc[found["level"] == level, "value"].tolist() for level in ("state", "store", "cat", "dept")}


def summary(place_shown: Place, week: Week) -> dict[str, float | None]:
    """Return the headline numbers: units of the last 28 days, the forecast and last year, and their changes."""
    recent = place_shown.history
    last = float(
        recent.loc[[week.origin - dt.timedelta(days=28) < d <= week.origin for d in recent["date"]], "units"].sum()
    )
    ahead = float(place_shown.forecast["ensemble"].sum())
    past = float(place_shown.last_year["units"].sum()) if not place_shown.last_year.empty else None
    since = recent.loc[[d > week.origin for d in recent["date"]], "units"]
    return {
        "last_28": last,
        "forecast_28": ahead,
        "last_year_28": past,
        "against_last": formatting.ratio(ahead, last),
        "against_year": formatting.ratio(ahead, past),
        "sold_since": float(since.sum()) if len(since) else None,
        "days_since": float(len(since)),
    }
