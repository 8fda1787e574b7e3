"""Tests of the weekly totals: from item sales, from landed totals, and from both if item sales begin mid-week."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from m5_assets.assets.landing import totals_of_week
from m5_assets.forecasting.history import DailyUnits
from m5_assets.forecasting.panel import SERIES_COLUMNS
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import LandedTotals
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")
DAYS = pd.Series(pd.date_range("2016-05-16", periods=7), index=range(1, 8))
GROUPS = pd.DataFrame(
    [("CA_1", "FOODS_1", "FOODS", "CA"), ("TX_1", "FOODS_1", "FOODS", "TX")],
    columns=["store_id", "dept_id", "cat_id", "state_id"],
)
SERIES = pd.DataFrame(
    [("FOODS_1_001", "FOODS_1", "FOODS", s, s[:2]) for s in ("CA_1", "TX_1")]
    + [("FOODS_1_002", "FOODS_1", "FOODS", "TX_1", "TX")],
    columns=list(SERIES_COLUMNS),
)
UNITS = np.arange(21, dtype=np.int32).reshape(3, 7)
SUMS = np.stack([UNITS[0], UNITS[1] + UNITS[2]])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path))


def _load(lake: Lake, first: int = 0) -> None:
    detail = DailyUnits(SERIES, WEEK.first_day + dt.timedelta(days=first), np.ascontiguousarray(UNITS[:, first:]))
    with lake.staging() as staged:
        pq.write_table(detail.table(), staged / "sales.parquet")
        lake.publish("raw_sales", WEEK.key, staged, inputs={}, attributes={})


def _units(lake: Lake, landed: LandedTotals | None) -> list[list[int]]:
    frame = totals_of_week(lake, WEEK, landed, DAYS).to_pandas()
    units: list[list[int]] = frame.pivot(index="store_id", columns="date", values="units").to_numpy().tolist()
    return units


LANDED = LandedTotals(GROUPS, 1, 7, SUMS.astype(np.int32))


def test_totals_come_from_the_item_sales_without_a_totals_file(lake: Lake) -> None:
    _load(lake)
    assert _units(lake, None) == SUMS.tolist()


def test_totals_come_from_their_file_without_item_sales(lake: Lake) -> None:
    assert _units(lake, LANDED) == SUMS.tolist()


def test_a_week_with_item_sales_from_wednesday_on_is_completed(lake: Lake) -> None:
    _load(lake, first=2)
    assert _units(lake, LANDED) == SUMS.tolist()


def test_a_week_in_none_of_the_sources_is_rejected(lake: Lake) -> None:
    with pytest.raises(dg.Failure, match="neither the sales file, the totals nor raw_sales hold it"):
        totals_of_week(lake, WEEK, None, DAYS)


def test_totals_that_contradict_the_item_sales_are_named(lake: Lake) -> None:
    _load(lake)
    wrong = SUMS.astype(np.int32).copy()
    wrong[1, 3] += 5
    with pytest.raises(
        dg.Failure, match=r"contradicts the detail in 1 totals, the first TX_1, FOODS_1, 2016-05-19: 32"
    ):
        totals_of_week(lake, WEEK, LandedTotals(GROUPS, 1, 7, wrong), DAYS)


def test_totals_of_other_stores_are_rejected(lake: Lake) -> None:
    _load(lake)
    other = GROUPS.assign(store_id=["CA_1", "WI_1"])
    with pytest.raises(dg.Failure, match="2 store-departments are in the sales file or sales_store"):
        totals_of_week(lake, WEEK, LandedTotals(other, 1, 7, SUMS.astype(np.int32)), DAYS)


def test_a_group_without_sales_may_be_in_one_file_only(lake: Lake) -> None:
    """Before a store opens and after it has left, files list it with zeros or not at all."""
    _load(lake)
    more = pd.concat([GROUPS, GROUPS.iloc[:1].assign(store_id="WI_1", state_id="WI")], ignore_index=True)
    units = np.vstack([SUMS, np.zeros((1, 7))]).astype(np.int32)
    assert _units(lake, LandedTotals(more, 1, 7, units)) == SUMS.tolist()
    units[2, 6] = 1
    with pytest.raises(dg.Failure, match=r"1 store-departments are in .* but not in both, the first WI_1 FOODS_1"):
        totals_of_week(lake, WEEK, LandedTotals(more, 1, 7, units), DAYS)
