"""A small sample business in a real database: three stores, six items, one exception of each kind."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import Engine

from m5_assets.resources.postgres import load, migrate, schema
from m5_assets.weeks import Week

NEWEST, SCORED = Week(dt.date(2016, 5, 16)), Week(dt.date(2016, 4, 18))
RUN = "0a1b2c3d-0000-4000-8000-000000000000"
HISTORY_WEEKS = 24
STATES = {"CA_1": "CA", "CA_2": "CA", "TX_1": "TX"}
ITEMS = {
    "FOODS_1_001": "FOODS_1",
    "FOODS_1_002": "FOODS_1",
    "FOODS_2_003": "FOODS_2",
    "HOBBIES_1_004": "HOBBIES_1",
    "HOUSEHOLD_1_005": "HOUSEHOLD_1",
    "HOUSEHOLD_1_006": "HOUSEHOLD_1",
}
GONE = ("FOODS_1_002", "CA_1")
RISING = ("FOODS_2_003", "CA_2")
NEW = ("HOBBIES_1_004", "TX_1")
REPRICED = ("HOUSEHOLD_1_005", "CA_1")
DISPUTED = ("HOUSEHOLD_1_006", "TX_1")
GAP_DAYS, NEW_DAYS, PRICE, NEW_PRICE = 10, 21, 4.0, 3.0
LAST_YEAR = dt.timedelta(days=364)
_MODELS = ("gbm", "lstm", "average", "ensemble")
_SCORES = {"ensemble": 0.5, "gbm": 0.55, "lstm": 0.6, "average": 0.56, "seasonal_naive": 0.8}


class Business:
    """The sample's sales: `units` is (series, days), and `days` ends at the newest week's origin."""

    def __init__(self) -> None:
        self.series = pd.DataFrame(
            [
                {"item_id": i, "dept_id": d, "cat_id": d.rsplit("_", 1)[0], "store_id": s, "state_id": STATES[s]}
                for s in STATES
                for i, d in ITEMS.items()
            ]
        )
        self.days = [NEWEST.origin - dt.timedelta(days=n) for n in reversed(range(7 * HISTORY_WEEKS))]
        rng = np.random.default_rng(7)
        self.units = rng.poisson(5.0, (len(self.series), len(self.days))).astype(np.int32) + 1
        self.units[self.row(GONE), -GAP_DAYS:] = 0
        self.units[self.row(NEW), :-NEW_DAYS] = 0

    def row(self, key: tuple[str, str]) -> int:
        """Return the row number of an item in a store."""
        found = (self.series["item_id"] == key[0]) & (self.series["store_id"] == key[1])
        return int(np.flatnonzero(found)[0])

    def forecast(self, week: Week) -> dict[str, np.ndarray]:
        """Return each model's (series, 28) units: the mean of the last 28 days, except for the planted series."""
        end = self.days.index(week.origin) + 1
        mean = np.repeat(self.units[:, end - 28 : end].mean(axis=1, keepdims=True), 28, axis=1).astype(np.float32)
        members = {model: mean.copy() for model in _MODELS}
        for model in _MODELS:
            members[model][self.row(RISING)] *= 3
        members["gbm"][self.row(DISPUTED)] *= 2
        members["lstm"][self.row(DISPUTED)] *= 0.5
        return members

    def outlook(self, week: Week) -> pd.DataFrame:
        """Return the week's rows of `series_outlook`."""
        end = self.days.index(week.origin) + 1
        units, members = self.units[:, :end], self.forecast(week)
        sold = units > 0
        first = [self.days[int(np.argmax(row))] if row.any() else None for row in sold]
        frame = self.series.assign(
            forecast_28=members["ensemble"].sum(axis=1),
            gbm_28=members["gbm"].sum(axis=1),
            lstm_28=members["lstm"].sum(axis=1),
            last_28=units[:, -28:].sum(axis=1),
            previous_28=units[:, -56:-28].sum(axis=1),
            last_year_28=100,
            zero_days=[int(np.argmax(row[::-1])) if row.any() else end for row in sold],
            nonzero_share_91=sold[:, -91:].mean(axis=1),
            usual_28=units[:, -91:].mean(axis=1) * 28,
            sell_price=PRICE,
            next_price=np.nan,
            next_price_date=None,
            first_sale=pd.Series(first, dtype=object),
        )
        repriced = self.row(REPRICED)
        frame["next_price_date"] = frame["next_price_date"].astype(object)
        frame.loc[repriced, "next_price"] = NEW_PRICE
        frame.at[repriced, "next_price_date"] = week.origin + dt.timedelta(days=7)
        return frame


def fill(engine: Engine) -> Business:
    """Load the sample as the platform would."""
    migrate.upgrade(engine)
    business = Business()
    _load_calendar(engine)
    _load_history(engine, business)
    for week in (SCORED, NEWEST):
        _load_forecast(engine, business, week)
    _load_accuracy(engine, business)
    return business


def _load_calendar(engine: Engine) -> None:
    days = [NEWEST.origin + dt.timedelta(days=n) for n in range(-400, 60)]
    events = {dt.date(2016, 5, 30): "MemorialDay", dt.date(2016, 5, 8): "Mother's day"}
    calendar = pa.table(
        {
            "date": pa.array(days, pa.date32()),
            "d": pa.array([None] * len(days), pa.int32()),
            "event_name_1": pa.array([events.get(day) for day in days], pa.string()),
            "event_type_1": pa.array(["National" if day in events else None for day in days], pa.string()),
            "event_name_2": pa.array([None] * len(days), pa.string()),
            "event_type_2": pa.array([None] * len(days), pa.string()),
        }
    )
    snap = pa.table({"state_id": ["CA"], "date": pa.array([days[0]], pa.date32())})
    load.load_calendar(engine, calendar, snap, RUN)


def _load_history(engine: Engine, business: Business) -> None:
    for number in range(HISTORY_WEEKS):
        days = business.days[7 * number : 7 * number + 7]
        sales = _long(business.series, days).assign(
            units=business.units[:, 7 * number : 7 * number + 7].reshape(-1), sell_price=PRICE
        )
        if number == HISTORY_WEEKS - 3:  # a promotion of one week
            sales.loc[(sales["item_id"] == "FOODS_1_001") & (sales["store_id"] == "CA_1"), "sell_price"] = PRICE * 0.8
        load.load_series(engine, schema.sales, days[0], [arrow(sales)], RUN)
        _load_totals(engine, sales, days[0])
        if number >= HISTORY_WEEKS - 5:  # last year's sales of the forecast weeks repeat these
            shifted = [day + dt.timedelta(days=35) - LAST_YEAR for day in days]
            _load_totals(
                engine, sales.assign(date=np.tile(np.array(shifted, dtype=object), len(business.series))), shifted[0]
            )


def _load_totals(engine: Engine, sales: pd.DataFrame, week: dt.date) -> None:
    totals = sales.groupby(["store_id", "state_id", "dept_id", "date"], as_index=False)[["units"]].sum()
    load.load_store_dept_sales(engine, week, arrow(totals), RUN)


def _load_forecast(engine: Engine, business: Business, week: Week) -> None:
    days = [week.origin + dt.timedelta(days=n + 1) for n in range(28)]
    members = {name: values.reshape(-1) for name, values in business.forecast(week).items()}
    rows = _long(business.series, days).assign(sell_price=PRICE, **members)
    load.load_series(engine, schema.forecast, week.first_day, [arrow(rows)], RUN)
    load.load_series(engine, schema.series_outlook, week.first_day, [arrow(business.outlook(week))], RUN)
    totals = rows.groupby(["store_id", "dept_id", "date"], as_index=False)[list(members)].sum()
    totals["totals"] = totals["ensemble"]
    load.load_week(engine, schema.store_dept_forecast, week.first_day, arrow(totals), RUN)


def _load_accuracy(engine: Engine, business: Business) -> None:
    rows = [
        {"model": m, "level": level, "horizon_week": week, "wrmsse": score + 0.01 * level, "rmsse": score, "mae": 1.0,
         "bias": -0.02}
        for m, score in _SCORES.items()
        for level in range(13)
        for week in range(5)
    ]  # fmt: skip
    load.load_week(engine, schema.accuracy, SCORED.first_day, arrow(pd.DataFrame(rows)), RUN)
    columns = ("state_id", "store_id", "cat_id", "dept_id", "item_id")
    levels = {2: ("state_id",), 3: ("state_id", "store_id"), 4: ("cat_id",), 5: ("cat_id", "dept_id"), 12: columns}
    parts = []
    for level, keys in levels.items():
        groups = business.series[list(keys)].drop_duplicates()
        for model in ("ensemble", "seasonal_naive"):
            part = groups.reindex(columns=list(columns)).astype(object)
            parts.append(part.where(part.notna(), None).assign(model=model, level=level, rmsse=_SCORES[model]))
    aggregates = pd.concat(parts).assign(units=100.0, weight=0.01, mae=1.0, bias=0.1)
    worst = (aggregates["item_id"] == GONE[0]) & (aggregates["store_id"] == GONE[1])
    aggregates.loc[worst, "rmsse"] = 3.0
    load.load_week(engine, schema.aggregate_accuracy, SCORED.first_day, arrow(aggregates), RUN)


def _long(series: pd.DataFrame, days: list[dt.date]) -> pd.DataFrame:
    rows = series.loc[series.index.repeat(len(days))].reset_index(drop=True)
    return rows.assign(date=np.tile(np.array(days, dtype=object), len(series)))


def arrow(frame: pd.DataFrame) -> pa.Table:
    """Return a frame as the Arrow table that the loaders expect."""
    return pa.Table.from_pandas(frame, preserve_index=False)
