"""Tests of the history of totals when store-departments open, leave and return."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from m5_assets.forecasting.history import DailyUnits, WeekFile, write_by_store
from m5_assets.forecasting.panel import EVENT_COLUMNS
from m5_assets.forecasting.totals.weekly import history_of

FIRST = dt.date(2016, 1, 4)
GROUPS = [("CA_1", "FOODS_1"), ("CA_1", "HOBBIES_1"), ("WI_1", "FOODS_1")]
DAYS = 21
UNITS = np.arange(1, 3 * DAYS + 1).reshape(3, DAYS)


def _day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def _calendar() -> pa.Table:
    dates = [_day(number) for number in range(DAYS + 28)]
    events = {name: [""] * len(dates) for name in EVENT_COLUMNS}
    snap = {f"snap_{state}": [False] * len(dates) for state in ("CA", "WI")}
    return pa.table({"date": dates, "wm_yr_wk": [11601 + n // 7 for n in range(len(dates))], **events, **snap})


def _frame(without: dict[tuple[str, str], range] | None = None) -> pd.DataFrame:
    """Return the totals of all groups and days, without the rows of these groups on these days."""
    rows = [
        (store, dept, dept.split("_")[0], store[:2], _day(number), int(UNITS[place, number]))
        for place, (store, dept) in enumerate(GROUPS)
        for number in range(DAYS)
        if number not in (without or {}).get((store, dept), range(0))
    ]
    return pd.DataFrame(rows, columns=["store_id", "dept_id", "cat_id", "state_id", "date", "units"])


def _sales(folder: Path, week: int, groups: list[tuple[str, str]]) -> WeekFile:
    """Return a week of item sales of these store-departments, one item each."""
    series = pd.DataFrame(
        [(f"{dept}_001", dept, dept.split("_")[0], store, store[:2]) for store, dept in groups],
        columns=["item_id", "dept_id", "cat_id", "store_id", "state_id"],
    )
    path = folder / f"{week}.parquet"
    write_by_store(DailyUnits(series, _day(7 * week), np.ones((len(groups), 7), np.int32)).table(), path)
    return WeekFile.of(path)


@pytest.mark.parametrize("new", [[("WI_1", "FOODS_1")], [("CA_1", "HOBBIES_1")]], ids=["store", "department"])
def test_totals_before_a_group_existed_are_zeros(new: list[tuple[str, str]]) -> None:
    found = history_of(_frame({group: range(14) for group in new}), _calendar())
    expected = UNITS.astype(np.float32)
    expected[[GROUPS.index(group) for group in new], :14] = 0
    np.testing.assert_array_equal(found.units, expected)


@pytest.mark.parametrize("gone", [[("WI_1", "FOODS_1")], [("CA_1", "HOBBIES_1")]], ids=["store", "department"])
def test_a_group_that_has_left_is_no_part_of_the_history(gone: list[tuple[str, str]]) -> None:
    found = history_of(_frame({group: range(14, DAYS) for group in gone}), _calendar())
    kept = [place for place, group in enumerate(GROUPS) if group not in gone]
    assert list(found.groups[["store_id", "dept_id"]].itertuples(index=False, name=None)) == [GROUPS[p] for p in kept]
    np.testing.assert_array_equal(found.units, UNITS[kept])


def test_a_week_that_is_lost_is_an_error() -> None:
    everywhere = dict.fromkeys(GROUPS, range(7, 14))
    with pytest.raises(ValueError, match=r"totals of CA_1/FOODS_1 on 2016-01-11 are missing; materialize store_dept_s"):
        history_of(_frame(everywhere), _calendar())
    opened_later = {**everywhere, **dict.fromkeys(GROUPS[1:], range(14)), GROUPS[0]: range(7, 14)}
    with pytest.raises(ValueError, match="on 2016-01-11 are missing"):
        history_of(_frame(opened_later), _calendar())
    with pytest.raises(ValueError, match="totals of WI_1/FOODS_1 on 2016-01-11 are missing"):
        history_of(_frame({("WI_1", "FOODS_1"): range(7, 14)}), _calendar())


def test_a_group_that_returns_has_zeros_in_weeks_whose_item_sales_lack_it(tmp_path: Path) -> None:
    weeks = [_sales(tmp_path, 0, GROUPS), _sales(tmp_path, 1, GROUPS[:2]), _sales(tmp_path, 2, GROUPS)]
    found = history_of(_frame({("WI_1", "FOODS_1"): range(7, 14)}), _calendar(), weeks)
    expected = UNITS.astype(np.float32)
    expected[2, 7:14] = 0
    np.testing.assert_array_equal(found.units, expected)
    with pytest.raises(ValueError, match="totals of CA_1/HOBBIES_1 on 2016-01-11 are missing"):
        history_of(_frame({("CA_1", "HOBBIES_1"): range(7, 14)}), _calendar(), weeks)
