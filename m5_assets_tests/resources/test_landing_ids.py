"""What an id may hold: refused with file, row and remedy, or usable to the end."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from m5_assets.forecasting.file_names import file_name
from m5_assets.resources.landing_files import BadInput, Landing
from m5_assets.resources.landing_files.ids import LONGEST, id_fault
from m5_assets_tests.support.landing_folders import CALENDAR, PRICES, SALES, read_all, write_folder

REFUSED = [
    ("FOODS_1/2_001", "holds a slash or backslash"),
    ("FOODS_1\\2_001", "holds a slash or backslash"),
    ("FOODS_1_001 ", "begins or ends with a blank"),
    ("FOODS_1_001\u00a0", "begins or ends with a blank"),
    ("FOODS_1\u00a0_001", "holds U+00A0, no-break space"),
    ("FOODS_1_\u202e001", "holds U+202E, right-to-left override"),
    ("FOODS_1_\u200b001", "holds U+200B, zero width space"),
    ("FOODS_1_\ufeff001", "holds U+FEFF, zero width no-break space"),
    ("FOODS_1_\x1b[31m", "holds U+001B, a control character"),
    ("FOODS_1_0\x0001", "holds U+0000, a control character"),
    ("FOODS_1_\u3164", "holds U+3164, hangul filler"),
    ("FOODS_1_\ufffd01", "lost in a wrong encoding"),
    ("FOODS_1_cafe\u0301", "composed form"),
    ("FOODS_1_" + "x" * 300, "has 308 bytes, more than 128"),
]


@pytest.mark.parametrize(("name", "fault"), REFUSED, ids=[ascii(name)[:30] for name, _ in REFUSED])
@pytest.mark.parametrize("file", [SALES, PRICES])
def test_an_id_that_cannot_work_is_refused_with_its_row(tmp_path: Path, name: str, fault: str, file: str) -> None:
    path = write_folder(tmp_path) / file
    path.write_bytes(path.read_text().replace("FOODS_1_001", name).encode())
    with pytest.raises(BadInput) as refusal:
        read_all(str(tmp_path))
    message = str(refusal.value)
    assert message.startswith(str(path))
    assert "column item_id" in message
    assert fault in message
    assert ("line 3" if file == SALES else "line 4") in message
    assert "at most 64 bytes" in message
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("column", ["dept_id", "cat_id", "store_id"])
def test_every_id_column_of_the_sales_is_checked(tmp_path: Path, column: str) -> None:
    path = write_folder(tmp_path) / SALES
    old = {"dept_id": "FOODS_1", "cat_id": "FOODS", "store_id": "CA_1"}[column]
    path.write_text(path.read_text().replace(old, old[:2] + "/" + old[2:]))
    with pytest.raises(BadInput, match=r"bad values in column \w+ .*holds a slash"):
        Landing(str(tmp_path)).sales()


def test_the_store_departments_of_the_totals_are_checked(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "sales_store_dept_history.csv").write_text("store_id,dept_id,d_1\nCA_1 ,FOODS_1,3\n")
    with pytest.raises(BadInput, match=r"line 2 \('CA_1 ', FOODS_1\): store_id 'CA_1 ' begins or ends with a blank"):
        Landing(str(tmp_path)).totals()


def test_an_event_that_is_only_a_blank_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / CALENDAR
    path.write_text(path.read_text().replace("SuperBowl", " "))
    with pytest.raises(BadInput, match=r"line 10 .*event_name_1 is ' ', which begins or ends with a blank"):
        Landing(str(tmp_path)).calendar()


@pytest.mark.parametrize(
    "name", ["FOODS_1_1,5 l", 'FOODS_1_5"', "FOODS_1_Öl & Essig #2", "FOODS_1_牛乳", "FOODS_1_=A1"]
)
def test_an_unusual_id_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    for file in (SALES, PRICES):
        with (tmp_path / file).open(newline="") as source:
            rows = [[cell.replace("FOODS_1_001", name) for cell in row] for row in csv.reader(source)]
        with (tmp_path / file).open("w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows(rows)
    _, prices, series, _ = read_all(str(tmp_path))
    assert name in set(series["item_id"])
    assert name in set(prices["item_id"])


@pytest.mark.parametrize("state", ["Bayern", "nw", "Île-de-France", "A,B", 'So"und"so', "10", "x" * LONGEST])
def test_every_state_id_has_its_snap_column(tmp_path: Path, state: str) -> None:
    write_folder(tmp_path)
    store = f"{state}_3"[-LONGEST:] if len(state) < LONGEST else None
    for file in (SALES, PRICES, CALENDAR):
        with (tmp_path / file).open(newline="") as source:
            rows = [[cell.replace("snap_WI", f"snap_{state}") for cell in row] for row in csv.reader(source)]
        if store:
            old = {"WI": state, "WI_3": store}
            rows = [[old.get(cell, cell.replace("_WI_3_", f"_{store}_")) for cell in row] for row in rows]
        with (tmp_path / file).open("w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows(rows)
    assert f"snap_{state}" in Landing(str(tmp_path)).calendar()
    if store:
        assert set(read_all(str(tmp_path))[2]["state_id"]) == {"CA", state}


def test_the_longest_id_makes_a_file_name_that_file_systems_take(tmp_path: Path) -> None:
    name = "ö" * (LONGEST // 2)
    assert id_fault(name) is None
    assert id_fault(name + "x") == "has 65 bytes, more than 64"
    (tmp_path / f"department_{file_name(name)}.txt.partial").write_text("")
