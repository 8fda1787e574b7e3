"""Landed files are read whole and checked against each other before anything is written from any of them."""

from __future__ import annotations

import datetime as dt
import gzip
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from m5_assets.assets.landing import calendar, raw_sales, sell_prices, store_dept_sales
from m5_assets.checks.price_rules import ids_match
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import BadInput, Landing
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.landing_files.sales_file import SalesSummary
from m5_assets.settings import CheckSettings, Settings
from m5_assets_tests.support.landing_folders import CALENDAR, PRICES, SALES, land, write_folder

TOTALS = "sales_store_dept_history.csv"
WEEK = "2011-01-31"


def edit(path: Path, old: str, new: str, count: int = -1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def write_all(landing: LandingFolder, lake: Lake) -> list[str]:
    """Run every asset that writes what was landed; return the reasons of those that failed."""
    reasons = []
    for asset in (sell_prices, calendar, raw_sales, store_dept_sales):
        try:
            if asset in (raw_sales, store_dept_sales):
                asset(dg.build_asset_context(partition_key=WEEK), landing=landing, lake=lake)
            else:
                asset(landing=landing, lake=lake)
        except dg.Failure as failure:
            reasons.append(f"{failure.description} {'retried' if failure.allow_retries else ''}")
    return reasons


def test_valid_files_are_verified_and_written(tmp_path: Path) -> None:
    landing, lake = LandingFolder(root=str(land(tmp_path / "landed"))), Lake(root=str(tmp_path / "lake"))
    found = landing.verified()
    assert (found.first_day, found.last_day) == (dt.date(2011, 1, 31), dt.date(2011, 2, 9))
    assert list(found.ids.texts()) == []
    assert write_all(landing, lake) == []
    assert lake.list("")


def totals_of(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> None:
    """Write the daily totals of the landed sales, and zeros on the two days before."""
    sales = pd.read_csv(folder / SALES)
    days = [str(name) for name in sales if str(name).startswith("d_")]
    sums = sales.groupby(["store_id", "dept_id"])[days].sum().reset_index()
    sums.insert(2, "d_1", 0)
    sums.insert(3, "d_2", 0)
    change(sums).to_csv(folder / TOTALS, index=False)


def short_calendar(folder: Path) -> None:
    lines = (folder / CALENDAR).read_text().splitlines(keepends=True)
    (folder / CALENDAR).write_text("".join(lines[:36]))  # 35 days; the last full week is forecast through d_37


def other_totals(folder: Path) -> None:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame["d_5"] += [0, 1, 0, 0]
        return frame

    totals_of(folder, change)


def fewer_totals(folder: Path) -> None:
    totals_of(folder, lambda frame: frame.iloc[1:])


def damaged_official(folder: Path) -> None:
    (folder / "official.parquet").write_bytes(b"PAR1")


def longer_validation(folder: Path) -> None:
    head, *rows = (folder / SALES).read_text().replace("_evaluation,", "_validation,").splitlines()
    lines = [head + ",d_13", *(row + ",0" for row in rows)]
    (folder / "sales_train_validation.csv").write_text("\n".join(lines) + "\n")


def unpriced(folder: Path) -> None:
    edit(folder / PRICES, ",FOODS_1_002,", ",foods_1_2,")


CONTRADICTIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a calendar without the horizon": (
        short_calendar,
        "calendar.csv: ends on 2011-03-04, .* 2011-02-06 and .* 2011-03-06",
    ),
    "totals that are not the sums": (other_totals, "1 row.*: CA_1, HOBBIES_1, d_5: 6 against 5 summed.*or remove it"),
    "totals without a department that sells": (fewer_totals, "1 store-departments .*: CA_1, FOODS_1"),
    "official weights that cannot be read": (damaged_official, "official.parquet: cannot be read"),
    "sales of validation that reach further": (
        longer_validation,
        "sales_train_validation.csv: reaches d_13, but sales_train_evaluation.csv, .* only d_12. Remove the one",
    ),
    "prices of other ids": (
        unpriced,
        r"sell_prices.csv: 2 of 6 series .* such as CA_1/FOODS_1_002 \(sell_prices.csv has CA_1/foods_1_2\)"
        ".*set M5_CHECKS_UNPRICED_SERIES=0.34 or more",
    ),
}


@pytest.mark.parametrize(("contradict", "says"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_nothing_is_written_while_two_files_contradict_each_other(
    tmp_path: Path, contradict: Callable[[Path], None], says: str
) -> None:
    folder = land(tmp_path / "landed")
    totals_of(folder)
    landing, lake = LandingFolder(root=str(folder)), Lake(root=str(tmp_path / "lake"))
    landing.verified()
    contradict(folder)
    with pytest.raises(BadInput, match=says):
        landing.verified()
    assert len(write_all(landing, lake)) == 4
    assert not [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]


def test_a_group_without_units_may_be_missing_from_the_totals(tmp_path: Path) -> None:
    folder = land(tmp_path)
    sales = pd.read_csv(folder / SALES)
    sales.loc[sales["dept_id"] == "HOBBIES_1", sales.columns[6:]] = 0
    sales.to_csv(folder / SALES, index=False)
    totals_of(folder, lambda frame: frame[frame["dept_id"] != "HOBBIES_1"])
    LandingFolder(root=str(folder)).verified()


def test_the_setting_lets_series_without_prices_pass_and_the_check_names_them(tmp_path: Path) -> None:
    folder = land(tmp_path / "landed")
    unpriced(folder)
    source = Settings(home=tmp_path / "home", landing=str(folder), checks=CheckSettings(unpriced_series=0.4))
    landing = LandingFolder.of(source)
    assert landing.verified().ids.live_unpriced == 2
    found = ids_match(landing.verified().ids, source.checks.limit("unpriced_series"))
    assert found.passed
    assert found.figures == {"live_unpriced": 2, "others_unpriced": 0, "unsold": 2}
    assert "2 of 6 series that sold in the last 4 weeks have no price in any week" in found.text
    assert "2 series with prices are not in the sales, such as CA_1/foods_1_2, WI_3/foods_1_2" in found.text


def test_series_that_no_longer_sell_need_no_price_and_prices_need_no_sales(tmp_path: Path) -> None:
    folder = land(tmp_path)
    unpriced(folder)
    sales = pd.read_csv(folder / SALES)
    sales.loc[sales["item_id"] == "FOODS_1_002", sales.columns[6:]] = 0
    sales.to_csv(folder / SALES, index=False)
    landing = LandingFolder(root=str(folder))
    assert [text.partition(",")[0] for text in landing.verified().ids.texts()] == [
        "2 other series have no price in any week",
        "2 series with prices are not in the sales",
    ]
    assert ids_match(landing.verified().ids, CheckSettings().limit("unpriced_series")).passed


def test_a_sales_file_that_is_not_read_is_named(tmp_path: Path) -> None:
    landing = LandingFolder(root=str(tmp_path / "landed"), home=str(tmp_path / "home"))
    write_folder(tmp_path / "landed", "validation")
    land(tmp_path / "landed")
    said = ("sales_train_validation.csv is not read, because sales_train_evaluation.csv is there",)
    assert landing.verified().notes == said
    assert landing.verified().notes == said  # as it was remembered


def test_a_plain_file_without_its_last_line_break_may_be_cut_and_is_named(tmp_path: Path) -> None:
    landing = LandingFolder(root=str(land(tmp_path)))
    whole = (tmp_path / PRICES).read_text()
    (tmp_path / PRICES).write_text(whole[:-2])  # 2.97 becomes 2.9
    assert landing.verified().notes == (
        "sell_prices.csv ends without a line break: if it was cut off there, its last number is wrong",
    )
    (tmp_path / PRICES).write_bytes(gzip.compress(whole.rstrip().encode()))  # has a checksum
    assert landing.verified().notes == ()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry for each pass over the sales."""
    passes: list[int] = []
    summarize = Landing.sales_summary

    def counting(landing: Landing) -> SalesSummary:
        passes.append(1)
        return summarize(landing)

    monkeypatch.setattr(Landing, "sales_summary", counting)
    return passes


def test_the_same_files_are_verified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = LandingFolder(root=str(land(tmp_path / "landed")), home=str(tmp_path / "home"))
    found = landing.verified()
    passes = counted(monkeypatch)
    assert landing.verified() == found
    assert not passes
    edit(tmp_path / "landed" / SALES, ",13,", ",14,")  # as long as before
    os.utime(tmp_path / "landed" / SALES, ns=(1, 1))
    landing.verified()
    assert len(passes) == 1
    for record in ("", "[]", "{}", '{"key": 1}'):  # as a power cut or an older version may leave it
        (tmp_path / "home" / "landing-verified.json").write_text(record)
        landing.verified()
    assert len(passes) == 5
    LandingFolder(root=landing.root, home=landing.home, unpriced_series=0.5).verified()
    assert len(passes) == 6


def test_steps_that_begin_together_verify_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = LandingFolder(root=str(land(tmp_path / "landed")), home=str(tmp_path / "home"))
    passes = counted(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: landing.verified(), range(3)))
    assert found == [found[0]] * 3
    assert len(passes) == 1
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"landing.lock", "landing-verified.json"}


def test_a_refusal_is_not_remembered(tmp_path: Path) -> None:
    landing = LandingFolder(root=str(land(tmp_path / "landed")), home=str(tmp_path / "home"))
    edit(tmp_path / "landed" / SALES, ",13,", ",-3,")
    for _ in range(2):
        with pytest.raises(BadInput, match="d_3 is '-3'"):
            landing.verified()
    edit(tmp_path / "landed" / SALES, ",-3,", ",13,")
    landing.verified()
