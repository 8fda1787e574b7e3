"""Tests that the features job writes the same bytes for a week whatever happens after its origin.

Not here: the same for single features (`forecasting/test_features_point_in_time`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from m5_assets.containers.features import run
from m5_assets.forecasting.history import DailyUnits
from m5_assets.forecasting.panel import HORIZON, read_panel
from m5_assets.forecasting.totals.daily_totals import read_totals
from m5_assets_tests.support.panels import make_panel

WEEKS, FIRST_WEEKS = 24, 12
PANEL = make_panel(seed=5, items=8, stores=2, days=7 * WEEKS)
DATES = [day.date() for day in pd.DatetimeIndex(PANEL.calendar["date"])]
GROUPS = ["store_id", "dept_id", "cat_id", "state_id"]


def _week(units: np.ndarray, number: int) -> DailyUnits:
    """Return a week of sales; the last series joins the files only after two thirds of the weeks."""
    known = len(PANEL.series) - (3 * number < 2 * WEEKS)
    return DailyUnits(PANEL.series[:known], DATES[7 * number], np.ascontiguousarray(units[:known], np.int32))


PRICE = np.round(PANEL.price[:, ::7], 2)
"""Prices by series and calendar week; the panel's weeks are the calendar's."""


class Inputs:
    """The job's inputs at some point in time, as tables by file name."""

    def __init__(self, weeks: list[DailyUnits], calendar: pd.DataFrame, price: np.ndarray):
        numbers = 11600 + np.arange(len(calendar)) // 7
        dated = calendar.assign(date=pd.DatetimeIndex(calendar["date"]).date, wm_yr_wk=numbers)
        priced = pd.DataFrame({"wm_yr_wk": np.unique(numbers)})
        prices = PANEL.series[["store_id", "item_id"]].merge(priced, how="cross")
        prices = prices.assign(sell_price=price[:, : len(priced)].reshape(-1).astype(np.float32)).dropna()
        self.files = {"prices/all": pa.Table.from_pandas(prices, preserve_index=False)}
        self.files["calendar/all"] = pa.Table.from_pandas(dated, preserve_index=False)
        for week in weeks:
            table = week.table()
            totals = table.to_pandas().groupby([*GROUPS, "date"], observed=True, as_index=False)["units"].sum()
            totals = totals.astype(dict.fromkeys(GROUPS, str))
            self.files[f"sales/{week.first_day}"] = table
            self.files[f"totals/{week.first_day}"] = pa.Table.from_pandas(totals, preserve_index=False)

    def written(self, origin: dt.date, since: dt.date) -> dict[str, str]:
        """Run the job for an origin and return the SHA-256 of each file that it writes."""
        files = self.run("--origin", str(origin), str(since), str(DATES[0]))
        return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}

    def run(self, *arguments: str) -> dict[str, bytes]:
        """Run the job and return the files that it writes."""
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
            for name, table in self.files.items():
                path = Path(folder) / "processing" / "input" / f"{name}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(table, path)
            patched.setenv("SAGEMAKER_BASE_DIR", folder)
            patched.setattr(sys, "argv", ["features", *arguments])
            run()
            output = Path(folder) / "processing" / "output"
            files = [path for path in sorted(output.rglob("*")) if path.is_file()]
            return {str(path.relative_to(output)): path.read_bytes() for path in files}


def known_then(number: int, sales: np.ndarray = PANEL.sales) -> Inputs:
    """Return the inputs as of the end of a week: no later sales, no prices or calendar after the horizon."""
    weeks = [_week(sales[:, 7 * i : 7 * i + 7], i) for i in range(number + 1)]
    return Inputs(weeks, PANEL.calendar[: 7 * (number + 1) + HORIZON], PRICE)


def known_later(number: int, more: int, seed: int) -> Inputs:
    """Return the inputs some weeks later, in a random future."""
    rng = np.random.default_rng(seed)
    sales, calendar, price = PANEL.sales.copy(), PANEL.calendar.copy(), PRICE.copy()
    origin, known = 7 * (number + 1), 7 * (number + 1) + HORIZON
    sales[:, origin:] = rng.integers(0, 500, sales[:, origin:].shape)
    price[:, known // 7 :] = rng.uniform(0.1, 99, price[:, known // 7 :].shape)
    calendar.loc[calendar.index >= known, "event_name_1"] = rng.choice(["Easter", "", "SuperBowl"])
    weeks = [_week(sales[:, 7 * i : 7 * i + 7], i) for i in range(min(number + 1 + more, WEEKS))]
    return Inputs(weeks, calendar, price)


@settings(max_examples=8, deadline=None, phases=[Phase.generate])
@given(st.integers(FIRST_WEEKS, WEEKS - 2), st.integers(0, 3), st.integers(1, WEEKS), st.integers(0, 2**32 - 1))
def test_later_data_do_not_change_a_weeks_bytes(number: int, since: int, more: int, seed: int) -> None:
    origin, first = DATES[7 * number + 6], DATES[7 * since]
    written = known_then(number).written(origin, first)
    assert len(written) == 5  # per store a panel and a horizon file, and the totals
    assert known_later(number, more, seed).written(origin, first) == written


def test_a_leak_would_be_detected() -> None:
    """Check that one more unit on the last day matters; otherwise the test above proves nothing."""
    sales = PANEL.sales.copy()
    sales[:, 7 * FIRST_WEEKS + 6] += 1
    origin = DATES[7 * FIRST_WEEKS + 6]
    written = known_then(FIRST_WEEKS).written(origin, DATES[0])
    other = known_then(FIRST_WEEKS, sales).written(origin, DATES[0])
    assert all(other[name] != written[name] for name in written)


def test_given_closed_days_reach_every_file_of_the_store_they_name() -> None:
    origin = DATES[7 * FIRST_WEEKS + 6]
    closed, (first, second) = origin + dt.timedelta(days=9), PANEL.series["store_id"].unique().tolist()
    job = known_then(FIRST_WEEKS)
    since = ("--origin", str(origin), str(DATES[0]), str(DATES[0]))
    written = job.run(*since, "--closed-days", f"{first}:{closed:%m-%d}")
    files = {name.removeprefix(f"{origin}/"): pa.BufferReader(content) for name, content in written.items()}
    assert read_panel(files[f"panel/{first}.parquet"]).closed.dates == {first: (closed,)}
    assert read_panel(files[f"panel/{second}.parquet"]).closed.dates == {}
    assert read_totals(files["totals/totals.parquet"]).closed_days.dates == {first: (closed,)}
    for store in (first, second):
        rows = pq.read_table(files[f"horizon/{store}.parquet"], columns=["date", "closed"]).to_pandas()
        flagged = rows.loc[rows["closed"] > 0, "date"].unique().tolist()
        assert flagged == ([closed] if store == first else [])
    dates = ("--closed-days", f"{closed:%m-%d}", "--open-days", f"{first}:{closed:%m-%d},{second}:{closed:%m-%d}")
    assert job.run(*since, *dates) == job.run(*since)
