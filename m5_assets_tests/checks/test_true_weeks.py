"""True weeks of true retailers pass: closures, slow sellers, other currencies, seasons."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

from m5_assets.checks.earlier_weeks import WeekOfUnits, units_in_range
from m5_assets.checks.price_rules import prices_in_range
from m5_assets.checks.usual_sales import Usual, plausible_stores, plausible_total, usual_by_store, usual_of
from m5_assets.forecasting.history import DailyUnits, write_by_store
from m5_assets.resources.lake import Lake
from m5_assets.settings import CheckLimitFields
from m5_assets.weeks import Week

LIMITS = CheckLimitFields()
LAST = Week.parse("2016-05-16")
KEYS = ("store_id", "item_id")


def _tables(
    units: npt.NDArray[np.int32], stores: Sequence[str] = ("CA_1",), departments: Sequence[str] = ("FOODS_1",)
) -> list[pa.Table]:
    """Return the weekly tables of (N, D) units that end with the last week, oldest first; D is a multiple of seven."""
    count, days = units.shape
    names, depts = ([of[row * len(of) // count] for row in range(count)] for of in (stores, departments))
    series = pd.DataFrame({"item_id": [f"FOODS_1_{row:03}" for row in range(count)], "dept_id": depts})
    series = series.assign(cat_id="FOODS", store_id=names, state_id="CA")
    first = LAST.origin - dt.timedelta(days=days - 1)
    starts = range(0, days, 7)
    return [
        DailyUnits(series, first + dt.timedelta(days=at), np.ascontiguousarray(units[:, at : at + 7])).table()
        for at in starts
    ]


def _blocked(units: npt.NDArray[np.int32]) -> list[int]:
    """Return the weeks, by their place, that `units_in_range` blocks when they arrive one after the other."""
    weeks = [WeekOfUnits.of(table, KEYS) for table in _tables(units)]
    places = {id(week): place for place, week in enumerate(weeks)}

    def before(week: WeekOfUnits) -> list[WeekOfUnits]:
        return weeks[max(places[id(week)] - 8, 0) : places[id(week)]][::-1]

    return [at for at, week in enumerate(weeks) if not units_in_range(week, 0.0, before(week), LIMITS, before).passed]


def _shop(weeks: int = 60, items: int = 20, level: float = 4.0) -> npt.NDArray[np.int32]:
    return np.random.default_rng(1).poisson(level, (items, 7 * weeks)).astype(np.int32)


@pytest.mark.parametrize(
    ("first", "last"), [(0, 12), (0, 59), (20, 27), (20, 40), (52, 59), (50, 60)], ids=lambda week: f"week {week}"
)
@pytest.mark.parametrize("level", [0.02, 4.0, 400.0], ids=["slow", "usual", "large"])
def test_a_closure_blocks_no_week(first: int, last: int, level: float) -> None:
    units = _shop(level=level)
    units[:, 7 * first : 7 * last] = 0
    assert _blocked(units) == []


def test_a_closure_from_within_a_week_to_within_another_blocks_no_week() -> None:
    units = _shop()
    units[:, 7 * 30 + 3 : 7 * 41 + 4] = 0
    assert _blocked(units) == []


def test_one_slow_series_alone_blocks_no_week() -> None:
    units = np.zeros((1, 7 * 60), np.int32)
    units[0, np.random.default_rng(3).choice(7 * 60, 14, replace=False)] = np.arange(1, 15)
    assert _blocked(units) == []


def test_a_season_that_ends_does_not_make_its_own_weeks_wrong() -> None:
    units = _shop(items=2, level=300)
    units[:, 7 * 40 :] = _shop(weeks=20, items=2, level=0.3)
    assert _blocked(units) == []


def test_a_slip_is_found_in_its_week_and_later_ones_also_beside_a_closure() -> None:
    units = _shop()
    units[:, 7 * 30 : 7 * 37] = 0
    units[3, 7 * 38 + 2] = 40_000
    assert _blocked(units) == list(range(38, 47))


@pytest.mark.parametrize("rate", [0.001, 1, 15_000, 1_400_000], ids=lambda rate: f"x{rate}")
def test_prices_pass_in_whatever_currency(rate: float) -> None:
    table = pa.table({"sell_price": pa.array(np.array([0.05, 3.5, 3.98, 8.26, 107.3]) * rate, pa.float32())})
    assert prices_in_range(table, LIMITS.limit("price_factor")).passed


@pytest.mark.parametrize(
    ("weeks", "usual", "recent"),
    [
        ([10.0] * 12, 10.0, 10.0),
        ([10.0, *[0.0] * 7, 12.0, 14.0, 16.0, 18.0], 13.0, 3.25),  # open again for a week
        ([*[0.0] * 5, *[10.0] * 7], 10.0, 0.0),  # closed at the origin
        ([0.0, 9.0, 10.0, 11.0, 12.0], 10.5, 7.875),  # a strike in the newest week
        ([10.0], 10.0, 10.0),  # one week of history
    ],
)
def test_what_is_usual_is_what_was_sold_when_open(weeks: list[float], usual: float, recent: float) -> None:
    assert usual_of(weeks) == Usual(usual, recent)


def test_a_store_that_never_sold_has_no_usual() -> None:
    assert usual_of([0.0] * 12) is None


def _usual(
    folder: Path, units: npt.NDArray[np.int32], stores: Sequence[str], departments: Sequence[str] = ("FOODS_1",)
) -> dict[str, Usual]:
    lake, tables = Lake(root=str(folder)), _tables(units, stores, departments)
    for number, table in enumerate(tables):
        with lake.staging() as staged:
            write_by_store(table, staged / "sales.parquet")
            lake.publish("raw_sales", LAST.shift(number - len(tables) + 1).key, staged, inputs={}, attributes={})
    return usual_by_store(lake, LAST)


def test_a_store_open_again_after_ten_weeks_is_compared_with_what_it_sold_when_open(tmp_path: Path) -> None:
    units = np.full((4, 7 * 14), 5, np.int32)
    units[2:, 7 * 3 : 7 * 13] = 0  # TX_1 has been open for the newest week only
    usual = _usual(tmp_path, units, ("CA_1", "TX_1"))
    assert usual == {"CA_1": Usual(10.0, 10.0), "TX_1": Usual(10.0, 2.5)}
    for level in (2.0, 10.0):  # the models may or may not believe that it stays open
        forecast = pd.Series({"CA_1": 10.0, "TX_1": level})
        assert plausible_total(forecast, usual, LIMITS).passed
        assert plausible_stores(forecast, usual, LIMITS).passed
    assert not plausible_total(pd.Series({"CA_1": 2.0, "TX_1": 2.0}), usual, LIMITS).passed
    assert not plausible_stores(pd.Series({"CA_1": 10.0, "TX_1": 19.0}), usual, LIMITS).passed


def test_a_new_store_is_compared_with_what_it_sold_since_it_opened(tmp_path: Path) -> None:
    units = np.full((4, 7 * 14), 5, np.int32)
    units[2:, :-7] = 0
    usual = _usual(tmp_path, units, ("CA_1", "TX_1"))
    assert usual["CA_1"] == Usual(10.0, 10.0)
    assert usual["TX_1"].units == 10.0
    forecast = pd.Series({"CA_1": 10.0, "TX_1": 9.0})
    assert plausible_total(forecast, usual, LIMITS).passed
    assert plausible_stores(forecast, usual, LIMITS).passed


def test_a_new_department_counts_as_if_it_had_always_sold(tmp_path: Path) -> None:
    lake, weeks = Lake(root=str(tmp_path)), [LAST.shift(-n) for n in range(3, -1, -1)]
    for week in weeks:
        departments = ["FOODS_1"] if week < LAST else ["FOODS_1", "HOBBIES_1"]
        if week == weeks[0]:
            departments = ["FOODS_1", "HOUSEHOLD_1"]  # has left since
        frame = pd.DataFrame({"item_id": [f"{name}_001" for name in departments], "dept_id": departments})
        frame = frame.assign(cat_id="ANY", store_id="CA_1", state_id="CA")
        units = np.full((len(frame), 7), 10, np.int32)
        with lake.staging() as staged:
            write_by_store(DailyUnits(frame, week.first_day, units).table(), staged / "sales.parquet")
            lake.publish("raw_sales", week.key, staged, inputs={}, attributes={})
    usual = usual_by_store(lake, LAST)
    assert usual == {"CA_1": Usual(20.0, 20.0)}
    assert plausible_total(pd.Series({"CA_1": 19.0}), usual, LIMITS).passed
    assert usual_by_store(lake, LAST.shift(-1)) == {"CA_1": Usual(10.0, 10.0)}


def test_a_department_open_again_counts_as_what_it_sold_when_open(tmp_path: Path) -> None:
    units = np.full((4, 7 * 14), 5, np.int32)
    units[2:, 7 * 3 : 7 * 13] = 0  # the store sold only food for ten weeks
    usual = _usual(tmp_path, units, ("CA_1",), ("FOODS_1", "HOBBIES_1"))
    assert usual == {"CA_1": Usual(20.0, 12.5)}
    assert plausible_total(pd.Series({"CA_1": 20.0}), usual, LIMITS).passed


def test_a_store_that_closed_for_good_is_not_missed(tmp_path: Path) -> None:
    units = np.full((4, 7 * 14), 5, np.int32)
    units[2:, -7 * 5 :] = 0
    usual = _usual(tmp_path, units, ("CA_1", "TX_1"))
    forecast = pd.Series({"CA_1": 10.0, "TX_1": 0.0})
    assert plausible_total(forecast, usual, LIMITS).passed
    assert plausible_stores(forecast, usual, LIMITS).passed


def test_a_store_with_a_week_of_its_own_is_compared_with_its_own_weeks(tmp_path: Path) -> None:
    units = np.full((4, 7 * 6), 5, np.int32)
    units[2:].reshape(2, 6, 7)[:, :, 4:] = 0  # open from Monday to Thursday
    usual = _usual(tmp_path, units, ("CA_1", "TX_1"))
    assert usual["TX_1"].units == pytest.approx(10 * 4 / 7)
    assert plausible_stores(pd.Series({"CA_1": 10.0, "TX_1": 5.0}), usual, LIMITS).passed


def test_forecasts_of_zero_pass_while_all_is_closed_and_are_held_back_once_it_is_open() -> None:
    closed, opened = {"CA_1": Usual(100.0, 0.0)}, {"CA_1": Usual(100.0, 50.0)}
    zero = pd.Series({"CA_1": 0.0})
    assert plausible_total(zero, closed, LIMITS).passed
    assert plausible_stores(zero, closed, LIMITS).passed
    found = plausible_total(zero, opened, LIMITS)
    assert not found.passed
    assert "M5_CHECKS_FORECAST_BAND=1 or more" in found.text
    assert plausible_total(zero, {}, LIMITS).passed  # nothing was sold for twelve weeks


def test_with_few_sales_a_band_of_shares_says_nothing() -> None:
    usual = {"CA_1": Usual(0.5, 0.125)}
    for level in (0.02, 0.3, 1.4):
        assert plausible_total(pd.Series({"CA_1": level}), usual, LIMITS).passed
        assert plausible_stores(pd.Series({"CA_1": level}), usual, LIMITS).passed
    assert not plausible_total(pd.Series({"CA_1": 1.6}), usual, LIMITS).passed
