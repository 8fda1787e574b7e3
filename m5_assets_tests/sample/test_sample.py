"""Tests of the generated sample: reproducible bytes, M5's file format, M5's statistics."""

from __future__ import annotations

import hashlib
import os
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5_assets.resources.landing_files import LandedSales, Landing
from m5_assets.sample import write_sample
from m5_assets.sample.demand import DEPARTMENTS, items_by_department
from m5_assets.sample.sample_calendar import events_of, sample_calendar, walmart_week

ITEMS, WEEKS = 150, 60
NAMES = ["calendar.csv", "sales_train_evaluation.csv", "sell_prices.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample")
    write_sample(path, items=ITEMS, weeks=WEEKS, seed=7)
    return path


@pytest.fixture(scope="module")
def sales(folder: Path) -> LandedSales:
    return Landing(str(folder)).sales()


@pytest.fixture(scope="module")
def days(folder: Path, sales: LandedSales) -> pd.DataFrame:
    calendar = Landing(str(folder)).calendar()
    return calendar[calendar["d"].between(sales.first_day, sales.last_day)].reset_index(drop=True)


def digests(path: Path) -> list[str]:
    return [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in NAMES]


def mean_where(units: npt.NDArray[np.int32], chosen: pd.Series) -> float:
    return float(units[:, chosen.to_numpy(bool)].mean())


def test_the_bytes_depend_on_the_arguments_alone(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_sample(tmp_path / name, items=9, weeks=4, seed=seed)
    one, again, other = (digests(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one[0] == other[0]  # the calendar is not random
    assert one[1] != other[1]
    assert one[2] != other[2]


def test_files_are_replaced_and_no_others_are_left(tmp_path: Path) -> None:
    (tmp_path / "sell_prices.csv").write_text("old")
    write_sample(tmp_path, items=7, weeks=1, seed=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    assert Landing(str(tmp_path)).sell_prices().num_rows > 0


def test_a_failure_keeps_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "calendar.csv").write_text("old")
    (tmp_path / "sales_train_evaluation.csv.tmp").mkdir()
    with pytest.raises(IsADirectoryError):
        write_sample(tmp_path, items=7, weeks=1, seed=0)
    assert (tmp_path / "calendar.csv").read_text() == "old"
    assert not (tmp_path / "sell_prices.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": 6}, "items is 6; give at least 7"),
        ({"weeks": 0}, "weeks is 0; give 1 to 277"),
        ({"weeks": 278}, "weeks is 278; give 1 to 277"),
        ({"seed": -1}, "seed is -1"),
        ({"last_day": date(2016, 5, 21)}, "2016-05-21, a Saturday; give a Sunday"),
    ],
)
def test_arguments_out_of_range_are_rejected_before_writing(
    tmp_path: Path, change: dict[str, int], message: str
) -> None:
    arguments: dict[str, int] = {"items": 7, "weeks": 1, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        write_sample(tmp_path / "new", **arguments)  # type: ignore[arg-type]  # last_day is a date in one of the cases
    assert not (tmp_path / "new").exists()


def test_the_landing_reader_accepts_the_files(folder: Path, sales: LandedSales, days: pd.DataFrame) -> None:
    landing = Landing(str(folder))
    assert sales.units.shape == (ITEMS * 10, WEEKS * 7)
    assert sales.last_day == 1941
    assert days["date"].iloc[0].day_of_week == 0
    calendar = landing.calendar()
    assert calendar["d"].tolist() == list(range(1, 1970))
    prices = landing.sell_prices().to_pandas()
    last = prices.groupby(["store_id", "item_id"], observed=True)["wm_yr_wk"].max()
    assert len(last) == ITEMS * 10
    assert (last == calendar["wm_yr_wk"].iloc[-1]).all()


def test_rows_are_in_the_order_of_the_published_files(folder: Path) -> None:
    sales = pd.read_csv(folder / "sales_train_evaluation.csv", usecols=["dept_id", "store_id"])
    assert sales["store_id"].unique().tolist() == [
        *[f"CA_{n}" for n in range(1, 5)],
        *[f"TX_{n}" for n in range(1, 4)],
        *[f"WI_{n}" for n in range(1, 4)],
    ]
    assert sales["dept_id"].unique().tolist() == [department.name for department in DEPARTMENTS]
    header = (folder / "sales_train_evaluation.csv").read_text().partition("\n")[0]
    assert header.startswith("id,item_id,dept_id,cat_id,store_id,state_id,d_1522,d_1523")
    lines = (folder / "sell_prices.csv").read_text().splitlines()
    assert lines[0] == "store_id,item_id,wm_yr_wk,sell_price"
    assert len({line.rpartition(",")[0].rpartition(",")[0] for line in lines[1:]}) == ITEMS * 10
    runs = sum(a.rpartition(",")[0][:-6] != b.rpartition(",")[0][:-6] for a, b in pairwise(lines))
    assert runs == ITEMS * 10  # each series' rows are contiguous


def test_items_are_divided_as_in_m5() -> None:
    assert items_by_department(3049) == [416, 149, 532, 515, 216, 398, 823]


@given(st.integers(7, 40_000))
def test_any_number_of_items_is_divided_in_proportion(items: int) -> None:
    counts = items_by_department(items)
    assert sum(counts) == items
    assert min(counts) >= 1
    shares = [department.items / 3049 for department in DEPARTMENTS]
    slack = 1 if items > 25 else 3  # with few items, large departments give one to each empty one
    assert all(abs(count - items * share) < slack for count, share in zip(counts, shares, strict=True))


def test_snap_pays_on_ten_days_a_month_in_each_state() -> None:
    calendar = sample_calendar(date(2018, 12, 31)).query("year > 2011")
    for state in ("CA", "TX", "WI"):
        assert (calendar.groupby(["year", "month"])[f"snap_{state}"].sum() == 10).all()


def test_nothing_is_sold_before_it_has_a_price(folder: Path, sales: LandedSales, days: pd.DataFrame) -> None:
    prices = Landing(str(folder)).sell_prices().to_pandas()
    first = prices.groupby(["store_id", "item_id"], observed=True)["wm_yr_wk"].min().astype(int)
    release = sales.series.join(first, on=["store_id", "item_id"])["wm_yr_wk"].to_numpy()
    before = days["wm_yr_wk"].to_numpy() < release[:, None]
    launched = before.any(axis=1)
    assert 0.02 < launched.mean() < 0.3  # some are launched within the history
    assert (sales.units[before] == 0).all()
    assert (sales.units[launched].sum(axis=1) > 0).mean() > 0.9


def test_the_stores_are_closed_at_christmas(sales: LandedSales, days: pd.DataFrame) -> None:
    christmas = (days["date"].dt.month == 12) & (days["date"].dt.day == 25)
    assert christmas.sum() == 1
    assert (sales.units[:, christmas.to_numpy()] == 0).mean() > 0.99


def test_demand_is_intermittent_and_uneven(sales: LandedSales) -> None:
    assert 0.4 < (sales.units == 0).mean() < 0.8
    mean = np.sort(sales.units.mean(axis=1))
    assert mean[-len(mean) // 10 :].sum() > 0.3 * mean.sum()  # a tenth of the series sells at least 30%
    assert sales.units.var(axis=1).sum() > 1.5 * mean.sum()  # overdispersed relative to Poisson


def test_weekends_snap_days_and_events_affect_sales(sales: LandedSales, days: pd.DataFrame) -> None:
    weekend = days["date"].dt.day_of_week >= 5
    assert 1.1 < mean_where(sales.units, weekend) / mean_where(sales.units, ~weekend) < 1.5
    food = (sales.series["cat_id"] == "FOODS").to_numpy()
    in_wisconsin = (sales.series["state_id"] == "WI").to_numpy()
    snap = days["snap_WI"]
    lift = [
        mean_where(sales.units[chosen & in_wisconsin], snap) / mean_where(sales.units[chosen & in_wisconsin], ~snap)
        for chosen in (food, ~food)
    ]
    assert lift[0] > 1.12
    assert abs(lift[1] - 1) < 0.08
    thanksgiving = days["event_name_1"] == "Thanksgiving"
    assert mean_where(sales.units, thanksgiving) < 0.75 * sales.units.mean()


def test_prices_change_occasionally_and_affect_demand(folder: Path, sales: LandedSales, days: pd.DataFrame) -> None:
    prices = Landing(str(folder)).sell_prices().to_pandas()
    assert (
        0.003
        < (prices.groupby(["store_id", "item_id"], observed=True)["sell_price"].pct_change().abs() > 0).mean()
        < 0.05
    )
    wide = prices.pivot_table(index=["store_id", "item_id"], columns="wm_yr_wk", values="sell_price", observed=True)
    daily = wide.loc[list(zip(sales.series["store_id"], sales.series["item_id"], strict=True)), days["wm_yr_wk"]]
    price = np.log(daily.to_numpy())
    relative = price - np.nanmean(price, axis=1, keepdims=True)
    usual = sales.units.mean(axis=1, keepdims=True).repeat(len(days), axis=1)
    cheap, dear = relative < -0.08, relative > 0.08
    assert sales.units[cheap].sum() / usual[cheap].sum() > 1.1 * sales.units[dear].sum() / usual[dear].sum()


def test_walmart_weeks_begin_on_saturday_and_count_without_gaps() -> None:
    weeks = [(day, walmart_week(day.date())) for day in pd.date_range("2011-01-29", "2030-12-31")]
    for (_, before), (day, week) in pairwise(weeks):
        if day.day_of_week != 5:
            assert week == before
        else:
            assert week == before + 1 or (
                week % 100 == 1 and week // 100 == before // 100 + 1 and before % 100 in (52, 53)
            )


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("Easter", date(2024, 3, 31)),
        ("OrthodoxEaster", date(2024, 5, 5)),
        ("LentStart", date(2024, 2, 14)),
        ("Purim End", date(2024, 3, 24)),
        ("Pesach End", date(2024, 4, 30)),
        ("Chanukah End", date(2025, 1, 2)),
        ("Chanukah End", date(2023, 12, 15)),
        ("Thanksgiving", date(2024, 11, 28)),
        ("MemorialDay", date(2021, 5, 31)),
    ],
)
def test_movable_holidays_fall_on_their_dates(name: str, day: date) -> None:
    found = {event for year in (day.year - 1, day.year) for event in events_of(year)}
    assert day in {when for when, event, _ in found if event == name}


def test_the_calendar_matches_the_real_one() -> None:
    shared = Path(os.environ.get("M5_SHARED") or Path(__file__).parents[3] / "shared" / "m5")
    if not (shared / "calendar.csv").exists():
        pytest.skip(f"no real calendar.csv in {shared}; set M5_SHARED to its folder")
    real = pd.read_csv(shared / "calendar.csv", keep_default_na=False)
    generated = sample_calendar(date(2016, 6, 19)).astype(real.dtypes)
    events = ["event_name_1", "event_type_1", "event_name_2", "event_type_2"]
    pd.testing.assert_frame_equal(generated.drop(columns=events), real.drop(columns=events))

    def pairs(calendar: pd.DataFrame) -> set[tuple[str, str, str]]:
        columns = [calendar["date"], *(calendar[name] for name in events)]
        rows = list(zip(*columns, strict=True))
        return {(row[0], *row[at : at + 2]) for row in rows for at in (1, 3) if row[at]}

    assert len(pairs(generated) & pairs(real)) >= 0.95 * len(pairs(real))
    assert {event[1:] for event in pairs(generated)} == {event[1:] for event in pairs(real)}
