from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from m5_assets.checks import landing as checks
from m5_assets.checks import unit_rules
from m5_assets.checks.earlier_weeks import WeekOfUnits, drifts, rows_complete, units_in_range
from m5_assets.checks.recording import Finding
from m5_assets.forecasting.history import DailyUnits
from m5_assets.settings import CheckSettings, Settings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")
KEYS = ("store_id", "item_id")
LIMITS = CheckSettings()


def _sales(values: np.ndarray | None = None, first: dt.date = WEEK.first_day) -> pa.Table:
    units_sold = np.arange(21, dtype=np.int32).reshape(3, 7) if values is None else values
    items = [f"FOODS_1_00{i}" for i in range(len(units_sold))]
    series = pd.DataFrame(
        {"item_id": items, "dept_id": "FOODS_1", "cat_id": "FOODS", "store_id": "CA_1", "state_id": "CA"}
    )
    return DailyUnits(series, first, units_sold).table()


def _own(table: pa.Table) -> WeekOfUnits:
    return WeekOfUnits.of(table, KEYS)


def _complete(table: pa.Table, live: pa.Table | None = None) -> Finding:
    return rows_complete(
        table, _own(table), _own(live or table).keys, WEEK.first_day, WEEK.origin, LIMITS.limit("missing_series")
    )


def _in_range(own: WeekOfUnits, earlier: Sequence[WeekOfUnits], lowest: float = 0.0) -> Finding:
    def before(week: WeekOfUnits) -> Sequence[WeekOfUnits]:
        return earlier[next(place for place, each in enumerate(earlier) if each is week) + 1 :]

    return units_in_range(own, lowest, earlier, LIMITS, before)


def test_a_good_week_passes() -> None:
    table = _sales()
    own = _own(table)
    assert unit_rules.schema(table, checks.SALES_SCHEMA).passed
    assert _complete(table).passed
    assert _in_range(own, [own]).passed
    assert all(finding.passed for finding in drifts(own, [own, own], LIMITS).values())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (_sales().drop_columns(["state_id"]), "no column state_id"),
        (_sales().append_column("promo", pa.nulls(21, pa.bool_())), "unknown column promo"),
        (_sales().set_column(6, "units", pa.array(np.ones(21))), "units is double, not int32"),
        (_sales().set_column(6, "units", pa.array([None, *range(20)], pa.int32())), "units has 1 empty cells"),
    ],
)
def test_an_unexpected_schema_is_detected(table: pa.Table, words: str) -> None:
    found = unit_rules.schema(table, checks.SALES_SCHEMA)
    assert not found.passed
    assert words in found.text


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (_sales(np.ones((3, 6), np.int32)), "day 2016-05-22 is missing"),
        (_sales(first=WEEK.first_day - dt.timedelta(days=1)), "2 such days"),
        (_sales().slice(0, 20), "20 rows, not one for each of 3 series and day"),
        (_sales(np.ones((2, 7), np.int32)), "1 of 3 live series are missing (33.3%), such as CA_1/FOODS_1_002"),
        (_sales().slice(0, 0), "no series at all"),
    ],
)
def test_an_incomplete_week_is_detected(table: pa.Table, words: str) -> None:
    found = _complete(table, _sales())
    assert not found.passed
    assert words in found.text


def test_a_few_delisted_products_pass() -> None:
    many = _sales(np.ones((200, 7), np.int32))
    assert _complete(_sales(np.ones((199, 7), np.int32)), many).passed


def test_units_out_of_range_are_detected() -> None:
    own = _own(_sales())
    assert not _in_range(own, [own], lowest=-1.0).passed
    slip = np.ones((3, 7), np.int32)
    slip[1, 2] = 401  # the largest so far was 20
    assert not _in_range(_own(_sales(slip)), [own, own]).passed
    # ... and later weeks fail too, because models would learn from it
    later = _in_range(own, [_own(_sales(slip)), own])
    assert not later.passed
    assert "but not 401 of CA_1/FOODS_1_001 on 2016-05-18" in later.text


def test_drifts_are_detected() -> None:
    usual = [_own(_sales())] * 8
    assert not drifts(_own(_sales(np.full((3, 7), 15, np.int32))), usual, LIMITS)["volume_drift"].passed
    sparse = np.zeros((3, 7), np.int32)
    sparse[0] = 30
    found = drifts(_own(_sales(sparse)), usual, LIMITS)
    assert found["volume_drift"].passed
    assert not found["zero_share_drift"].passed


@pytest.mark.parametrize(
    ("last_day", "now", "passed"),
    [
        ("2016-05-22", "2016-05-24T01:00", True),  # landed; the week has been over for 25 hours
        ("2016-05-15", "2016-05-23T23:00", True),  # the week has been over for less than a day
        ("2016-05-15", "2016-05-24T01:00", False),
        ("2016-05-21", "2016-05-24T01:00", False),
        ("2016-04-24", "2016-05-24T01:00", False),
        ("2016-05-22", "2017-05-23T01:00", False),  # a year: the extract has stopped
        ("2016-05-22", "2017-05-24T01:00", True),  # more than a year: the data are frozen
    ],
)
def test_stale_data_is_detected(last_day: str, now: str, passed: bool) -> None:
    moment = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC)
    found = checks.landed_is_fresh(dt.date.fromisoformat(last_day), moment, Settings())
    assert found.passed is passed
    assert passed or "is over" in found.text


def test_frozen_data_is_due_only_through_its_last_week() -> None:
    source = Settings(last_week=dt.date(2016, 5, 16), checks=CheckSettings(landing_hours=0))
    now = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    assert checks.landed_is_fresh(dt.date(2016, 5, 22), now, source).passed
    assert not checks.landed_is_fresh(dt.date(2016, 5, 15), now, source).passed


def test_totals_that_contradict_the_item_sales_are_detected() -> None:
    detail = _sales()
    sums = detail.group_by(["store_id", "dept_id", "date"]).aggregate([("units", "sum")]).to_pandas()
    totals = sums.rename(columns={"units_sum": "units"}).astype({"store_id": str, "dept_id": str})
    assert checks.agrees(pa.Table.from_pandas(totals), detail).passed
    totals.loc[2, "units"] += 1
    found = checks.agrees(pa.Table.from_pandas(totals), detail)
    assert not found.passed
    assert "1 totals differ, such as CA_1, FOODS_1" in found.text
    assert not checks.agrees(pa.Table.from_pandas(totals.iloc[1:]), detail).passed
