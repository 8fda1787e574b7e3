"""Small synthetic panels with the structure of the M5 data, for tests of features and models.

Sales have a weekday profile, price and SNAP effects, intermittent items, late releases and no sales on Christmas.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from m5_assets.forecasting.closed_days import learn
from m5_assets.forecasting.panel import HORIZON, Panel

ORIGIN = pd.Timestamp("2016-02-28")
"""The last day with known sales in every panel: a Sunday, d_1857 of the competition."""

DEPARTMENTS = ("FOODS_1", "FOODS_3", "HOBBIES_1", "HOUSEHOLD_1")
STORES = ("CA_1", "CA_2", "TX_1", "WI_1", "CA_3", "TX_2", "WI_2")

EVENTS = {
    "02-14": ("ValentinesDay", "Cultural"),
    "02-07": ("SuperBowl", "Sporting"),
    "03-17": ("StPatricksDay", "Cultural"),
    "03-27": ("Easter", "Cultural"),
    "05-30": ("MemorialDay", "National"),
    "07-04": ("IndependenceDay", "National"),
    "10-31": ("Halloween", "Cultural"),
    "11-26": ("Thanksgiving", "National"),
    "12-25": ("Christmas", "National"),
    "01-01": ("NewYear", "National"),
}

WEEKDAY_PROFILE = np.array([0.9, 0.85, 0.85, 0.9, 1.0, 1.3, 1.2])


def make_panel(seed: int, items: int, stores: int, days: int) -> Panel:
    """Return a panel of `items` items in each of `stores` stores over the `days` days up to `ORIGIN`.

    Items are spread over `DEPARTMENTS`, stores over the states of `STORES`. About one series in five is released within
    the panel, the last of those only in the horizon; the others were released long before.
    """
    rng = np.random.default_rng(seed)
    dates = pd.date_range(end=ORIGIN + pd.Timedelta(days=HORIZON), periods=days + HORIZON).astype("datetime64[s]")
    calendar = _calendar(pd.DatetimeIndex(dates))
    series = _series(items, stores)
    count, total = len(series), days + HORIZON

    release = np.full(count, -400, np.int32)
    late = np.flatnonzero(rng.random(count) < 0.2)
    release[late] = rng.integers(1, max(days - 7, 2), len(late))
    if len(late):
        release[late[-1]] = days + 7
    released = np.arange(total) >= release[:, None]

    regular = rng.choice([0.98, 1.97, 2.68, 3.97, 7.44], count)
    discount = np.where(rng.random((count, total // 7 + 1)) < 0.15, 0.85, 1.0).repeat(7, axis=1)[:, :total]
    price = np.where(released, np.round(regular[:, None] * discount, 2), np.nan)

    snap = np.stack([calendar[f"snap_{state}"].to_numpy(float) for state in series["state_id"]])
    weekday = WEEKDAY_PROFILE[pd.DatetimeIndex(calendar["date"]).day_of_week.to_numpy()]
    level = rng.gamma(1.0, 2.0, (count, 1))
    mean = level * weekday * (1 + 0.15 * snap) * (1 + 2 * (1 - discount))
    mean = np.where(released & ~_christmas(calendar), mean, 0.0)
    sales = rng.poisson(mean[:, :days])
    closed = learn(series["store_id"].to_numpy(str), sales, calendar)
    return Panel(series, sales.astype(np.float32), price.astype(np.float32), release, calendar, closed)


def _series(items: int, stores: int) -> pd.DataFrame:
    rows = []
    for store in sorted(STORES[:stores]):
        for item in range(items):
            dept = DEPARTMENTS[item % len(DEPARTMENTS)]
            rows.append((f"{dept}_{item:03d}", dept, dept.rsplit("_", 1)[0], store, store.split("_")[0]))
    frame = pd.DataFrame(rows, columns=["item_id", "dept_id", "cat_id", "store_id", "state_id"])
    return frame.sort_values(["store_id", "item_id"], ignore_index=True)


def _calendar(dates: pd.DatetimeIndex) -> pd.DataFrame:
    known = [EVENTS.get(day, ("", "")) for day in dates.strftime("%m-%d")]
    columns: dict[str, object] = {
        "date": dates,
        "event_name_1": [name for name, _ in known],
        "event_type_1": [kind for _, kind in known],
        "event_name_2": "",
        "event_type_2": "",
    }
    for state, first in (("CA", 1), ("TX", 3), ("WI", 2)):
        columns[f"snap_{state}"] = (dates.day >= first) & (dates.day < first + 10)
    return pd.DataFrame(columns)


def _christmas(calendar: pd.DataFrame) -> np.ndarray:
    return np.asarray(calendar["event_name_1"] == "Christmas")
