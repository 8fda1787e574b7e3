from __future__ import annotations

from pathlib import Path

import pytest

from m5_assets.resources.landing import BadInput, Landing
from m5_assets_tests.resources.test_landing import write_folder

TOTALS = "sales_store_dept_history.csv"
ROWS = ["store_id,dept_id,d_1,d_2,d_3", "WI_3,FOODS_1,7,8,9", "CA_1,HOBBIES_1,4,5,6", "CA_1,FOODS_1,1,2,3"]


def _landing(tmp_path: Path, rows: list[str]) -> Landing:
    (write_folder(tmp_path) / TOTALS).write_text("\n".join(rows) + "\n")
    return Landing(str(tmp_path))


def test_totals_are_sorted_by_store_and_department(tmp_path: Path) -> None:
    totals = _landing(tmp_path, ROWS).totals()
    assert totals is not None
    keys = list(totals.groups.itertuples(index=False, name=None))
    assert keys == [("CA_1", "FOODS_1"), ("CA_1", "HOBBIES_1"), ("WI_3", "FOODS_1")]
    assert (totals.first_day, totals.last_day) == (1, 3)
    assert totals.units.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_the_file_is_optional(tmp_path: Path) -> None:
    assert Landing(str(write_folder(tmp_path))).totals() is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*ROWS, ROWS[1]], ["duplicate store-departments", "line 5 (WI_3, FOODS_1)"]),
        ([*ROWS[:3], "CA_1,FOODS_1,1,-2,3"], ["line 4 (CA_1, FOODS_1)", "whole numbers"]),
        ([ROWS[0].replace("d_2", "d_4"), *ROWS[1:]], ["d_4 follows d_1"]),
        ([ROWS[0].replace("dept_id", "department"), *ROWS[1:]], ["missing columns: dept_id"]),
        ([ROWS[0].replace("d_3", "d_3,d_4"), *(row + ",1.5" for row in ROWS[1:])], ["line 2", "1.5"]),
        ([ROWS[0]], ["holds no store-departments"]),
    ],
)
def test_bad_totals_are_refused_by_name(tmp_path: Path, rows: list[str], words: list[str]) -> None:
    with pytest.raises(BadInput) as problem:
        _landing(tmp_path, rows).totals()
    for word in [TOTALS, *words]:
        assert word in str(problem.value)
