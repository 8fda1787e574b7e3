"""Tests of the check that names what has left, and that a file that was cut off is still an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m5_assets.checks.departures import KEYS, departures, forecast_to_sell
from m5_assets.checks.earlier_weeks import WeekOfUnits, live_rows_complete
from m5_assets.checks.recording import Finding
from m5_assets.forecasting.history import DailyUnits
from m5_assets.resources.lake import Lake
from m5_assets.settings import CheckLimitFields, CheckSettings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")
LIMITS = CheckSettings()
SERIES = [(s, d, f"{d}_{n}") for s in ("CA_1", "TX_1") for d in ("FOODS_1", "HOBBIES_1") for n in ("001", "002")]


def _index(rows: list[tuple[str, str, str]]) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(rows, names=KEYS)


@pytest.mark.parametrize(
    ("gone", "names"),
    [
        ([], {}),
        ([row for row in SERIES if row[0] == "TX_1"], {"store TX_1": 4}),
        (
            [row for row in SERIES if row[:2] == ("TX_1", "HOBBIES_1")],
            {"department HOBBIES_1 of store TX_1": 2},
        ),
        ([row for row in SERIES if row[2] == "FOODS_1_002"], {"item FOODS_1_002": 2}),
        ([SERIES[0]], {}),  # still sold in the other store, so it is missing and has not left
        (
            [row for row in SERIES if row[0] == "TX_1" or row[2] == "FOODS_1_002"],
            {"store TX_1": 4, "item FOODS_1_002": 1},
        ),
    ],
)
def test_what_has_left_is_named(gone: list[tuple[str, str, str]], names: dict[str, int]) -> None:
    found = departures(_index(SERIES), _index([row for row in SERIES if row not in gone]))
    assert found.names == names
    assert len(found.left) == sum(names.values())
    assert found.share == sum(names.values()) / len(SERIES)
    assert set(found.left) <= set(gone)
    warning = found.finding()
    assert warning.passed is not bool(names)
    assert all(f"{name} ({count} series)" in warning.text for name, count in names.items())


def _complete(gone: list[tuple[str, str, str]], limits: CheckLimitFields = LIMITS) -> Finding:
    """Return the finding about a week that lacks these series of the weeks before."""
    kept = [row for row in SERIES if row not in gone]
    frame = pd.DataFrame(kept, columns=list(KEYS)).assign(cat_id="FOODS", state_id="CA")
    table = DailyUnits(frame, WEEK.first_day, np.ones((len(kept), 7), np.int32)).table()
    own, live = WeekOfUnits.of(table, KEYS), _index(SERIES)
    return live_rows_complete(table, own, live, departures(live, own.keys), WEEK.first_day, WEEK.origin, limits)


def test_a_store_or_an_item_may_leave() -> None:
    assert _complete([row for row in SERIES if row[0] == "TX_1"]).passed
    assert _complete([row for row in SERIES if row[2] == "FOODS_1_002"]).passed


def test_a_file_that_was_cut_off_is_incomplete() -> None:
    found = _complete([SERIES[0]])
    assert not found.passed
    assert "1 of 8 live series are missing" in found.text
    most = _complete(SERIES[2:])
    assert not most.passed
    assert "75% have left with whole stores, departments or items; up to 50% passes" in most.text
    assert "set M5_CHECKS_LEFT_SERIES=0.75 or more" in most.text
    assert _complete(SERIES[2:], LIMITS.model_copy(update={"left_series": 0.75})).passed


def test_series_forecast_to_sell_are_live_even_if_the_sales_were_loaded_again(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    assert not len(forecast_to_sell(lake, WEEK))
    series = pd.DataFrame(SERIES, columns=list(KEYS))
    series = series.assign(cat_id=series["dept_id"].str.split("_").str[0], state_id=series["store_id"].str[:2])
    units = np.full((len(SERIES), 28), 0.01, np.float32)
    units[1::2] = 1
    table = (
        DailyUnits(series, WEEK.shift(1).first_day, units)
        .table()
        .rename_columns([*("item_id", "dept_id", "cat_id", "store_id", "state_id"), "date", "ensemble"])
    )
    assert isinstance(table, pa.Table)
    with lake.staging() as staged:
        pq.write_table(table, staged / "forecast.parquet")
        lake.publish("ensemble_forecast", WEEK.key, staged, inputs={}, attributes={})
    assert set(forecast_to_sell(lake, WEEK)) == set(SERIES[1::2])
