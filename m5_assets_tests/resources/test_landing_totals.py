from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from m5_assets.resources.landing_files import BadInput, Landing, sum_totals
from m5_assets.sample import write_sample
from m5_assets_tests.support.landing_folders import write_folder

TOTALS = "sales_store_dept_history.csv"
ROWS = ["store_id,dept_id,d_1,d_2,d_3", "WI_3,FOODS_1,7,8,9", "CA_1,HOBBIES_1,4,5,6", "CA_1,FOODS_1,1,2,3"]


def _landing(tmp_path: Path, rows: list[str]) -> Landing:
    (write_folder(tmp_path) / TOTALS).write_text("\n".join(rows) + "\n")
    return Landing(str(tmp_path))


def test_totals_are_sorted_by_store_and_department(tmp_path: Path) -> None:
    totals = _landing(tmp_path, ROWS).totals()
    assert totals is not None
    assert list(totals.groups.itertuples(index=False, name=None)) == [
        ("CA_1", "FOODS_1", "FOODS", "CA"),
        ("CA_1", "HOBBIES_1", "HOBBIES", "CA"),
        ("WI_3", "FOODS_1", "FOODS", "WI"),
    ]
    assert (totals.first_day, totals.last_day) == (1, 3)
    assert totals.units.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_without_the_file_totals_are_summed_from_the_item_sales(tmp_path: Path) -> None:
    write_sample(tmp_path, items=7, weeks=3, seed=2)
    assert Landing(str(tmp_path)).totals() is None
    summed = sum_totals(Landing(str(tmp_path)).sales())
    detail = pd.read_csv(tmp_path / "sales_train_evaluation.csv")
    keys = ["store_id", "dept_id", "cat_id", "state_id"]
    expected = detail.groupby(keys, as_index=False).sum(numeric_only=True)
    assert summed.groups.to_dict("list") == expected[keys].to_dict("list")
    days = [f"d_{day}" for day in range(summed.first_day, summed.last_day + 1)]
    assert summed.units.tolist() == expected[days].to_numpy().tolist()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*ROWS, ROWS[1]], ["duplicate store-departments", "line 5 (WI_3, FOODS_1)"]),
        ([*ROWS[:3], "CA_1,FOODS_1,1,-2,3"], ["line 4 (CA_1, FOODS_1)", "whole numbers"]),
        ([ROWS[0].replace("d_2", "d_4"), *ROWS[1:]], ["d_4 follows d_1"]),
        ([ROWS[0].replace("dept_id", "department"), *ROWS[1:]], ["missing columns: dept_id"]),
        ([ROWS[0].replace("d_3", "d_3,d_4"), *(row + ",1.5" for row in ROWS[1:])], ["line 2", "1.5"]),
        ([ROWS[0]], ["contains no store-departments"]),
    ],
)
def test_invalid_totals_are_named_with_their_rows(tmp_path: Path, rows: list[str], words: list[str]) -> None:
    with pytest.raises(BadInput) as problem:
        _landing(tmp_path, rows).totals()
    for word in [TOTALS, *words]:
        assert word in str(problem.value)


def test_what_does_not_exist_yet_is_no_correction(tmp_path: Path) -> None:
    """A file of later weeks lists new stores and items with zeros on all earlier days."""
    write_sample(tmp_path, items=7, weeks=4, seed=2)
    whole = Landing(str(tmp_path)).sales()
    days = range(whole.first_day, whole.last_day + 1)
    new = (whole.series["store_id"] == "WI_3").to_numpy()
    units = whole.units.copy()
    units[new, :21] = 0
    later = dataclasses.replace(whole, units=units)
    before = dataclasses.replace(whole, series=whole.series[~new].reset_index(drop=True), units=units[~new])
    for week in range(3):
        span = days[7 * week], days[7 * week + 6]
        assert before.content(*span) == later.content(*span) != whole.content(*span)
        assert sum_totals(before).content(*span) == sum_totals(later).content(*span)
    assert before.content(days[21], days[27]) != later.content(days[21], days[27])
    sold = (whole.units[:, :7].sum(axis=1) > 0).argmax()
    units = units.copy()
    units[sold] = 0
    assert dataclasses.replace(later, units=units).content(days[0], days[6]) != later.content(days[0], days[6])
