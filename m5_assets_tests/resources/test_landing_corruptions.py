"""The message for every kind of invalid file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from m5_assets.resources.landing_files import BadInput
from m5_assets_tests.support.landing_folders import CALENDAR, PRICES, SALES, read_all, write_folder


@dataclass(frozen=True)
class Corruption:
    """A change to one file of a valid folder, and what the error message must contain."""

    name: str
    file: str
    change: Callable[[str], str | bytes | None]
    says: tuple[str, ...]


def put(line: int, old: str, new: str) -> Callable[[str], str]:
    """Return a change that replaces a text in one line; the header is line 1."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new, 1)
        return "".join(lines)

    return change


def repeat(line: int) -> Callable[[str], str]:
    return lambda text: text + text.splitlines(keepends=True)[line - 1]


def drop(line: int) -> Callable[[str], str]:
    return lambda text: "".join(row for at, row in enumerate(text.splitlines(keepends=True), 1) if at != line)


def cut(text: str, columns: int) -> str:
    return "".join(",".join(row.split(",")[:columns]) + "\n" for row in text.splitlines())


CA_FOODS = "FOODS_1_001_CA_1_evaluation"
CORRUPTIONS = [
    *[
        Corruption(f"missing {name}", name, lambda text: None, ("missing file", "m5 sample"))
        for name in (CALENDAR, PRICES, SALES)
    ],
    *[Corruption(f"empty {name}", name, lambda text: "", ("is empty", "again")) for name in (CALENDAR, PRICES, SALES)],
    *[
        Corruption(
            f"only a header in {name}", name, lambda text: text.splitlines()[0] + "\n", (f"contains no {what}", "again")
        )
        for name, what in ((CALENDAR, "days"), (PRICES, "prices"), (SALES, "series"))
    ],
    Corruption(
        "sales cut within a row", SALES, lambda t: t[: t.rindex(",", 0, -6)] + "\n", ("line 7", "cells, expected 16")
    ),
    Corruption(
        "prices cut within a row", PRICES, lambda t: t[: t.rindex(",")] + "\n", ("line 13", "3 cells, expected 4")
    ),
    Corruption("calendar cut within a row", CALENDAR, lambda t: t[:-4] + "\n", ("line 15", "12 cells, expected 13")),
    Corruption("blank line in sales", SALES, put(3, "FOODS_1_001_CA", "\nFOODS_1_001_CA"), ("line 3",)),
    Corruption("blank header", PRICES, lambda text: "\n" + text, ("line 1 is blank",)),
    Corruption(
        "header not UTF-8", SALES, lambda t: t.replace("item_id", "\xedtem").encode("latin-1"), ("line 1", "UTF-8")
    ),
    Corruption(
        "sales not UTF-8",
        SALES,
        lambda t: t.replace("FOODS_1_002_C", "F\xd6_C").encode("latin-1"),
        ("line 4", "id is not UTF-8"),
    ),
    Corruption(
        "prices not UTF-8",
        PRICES,
        lambda t: t.replace("WI_3", "W\xcd_3").encode("latin-1"),
        ("line 8", "store_id is not UTF-8"),
    ),
    # Columns
    Corruption("column missing", SALES, put(1, ",dept_id", ""), ("missing columns: dept_id", "these columns: ")),
    Corruption(
        "column unknown",
        PRICES,
        put(1, "sell_price", "price"),
        ("missing columns: sell_price", "unknown columns: price"),
    ),
    Corruption("column twice", PRICES, put(1, "item_id", "store_id"), ("duplicate columns: store_id",)),
    Corruption("no day columns", SALES, lambda t: cut(t, 6), ("no day columns",)),
    Corruption("gap of days", SALES, put(1, "d_7,", "d_70,"), ("column d_70 follows d_6", "Order the day columns")),
    Corruption("disorder of days", SALES, put(1, "d_6,d_7", "d_7,d_6"), ("column d_7 follows d_5",)),
    Corruption(
        "days after the calendar",
        CALENDAR,
        lambda t: "".join(t.splitlines(keepends=True)[:11]),
        ("d_3 to d_12", "d_1 to d_10", "Extend"),
    ),
    Corruption("state without SNAP", CALENDAR, lambda t: t.replace("snap_WI", "snap_TX"), ("state_id WI", "snap_WI")),
    Corruption("SNAP of no state", CALENDAR, put(1, "snap_WI", "snap_"), ("column snap_ names no state",)),
    Corruption(
        "SNAP of a state that cannot be", CALENDAR, put(1, "snap_WI", "snap_W/I"), ("snap_W/I holds a slash", "Name")
    ),
    Corruption("calendar without SNAP", CALENDAR, lambda t: cut(t, 11), ("missing columns: snap_",)),
    # Series
    Corruption("id twice", SALES, repeat(3), ("duplicate", "(1 row)", "line 8", CA_FOODS, "Keep one")),
    Corruption(
        "id against item", SALES, put(3, ",FOODS_1_001,", ",FOODS_1_003,"), ("line 3", CA_FOODS, "FOODS_1_003_CA_1")
    ),
    Corruption("id without suffix", SALES, put(3, "_evaluation", ""), ("line 3", "evaluation")),
    Corruption(
        "item against department",
        SALES,
        put(3, ",FOODS_1,", ",FOODS_2,"),
        ("line 3", "item_id is FOODS_1_001 but dept_id is FOODS_2", "and more, as FOODS_1_001 in FOODS_1"),
    ),
    Corruption(
        "department against category",
        SALES,
        put(3, ",FOODS,", ",FOOD,"),
        ("line 3", "dept_id is FOODS_1 but cat_id is FOOD", "and more, as FOODS_1 in FOODS"),
    ),
    Corruption(
        "department that is its category",
        SALES,
        put(3, ",FOODS,", ",FOODS_1,"),
        ("line 3", "dept_id does not begin with cat_id and '_'", "dept_id is FOODS_1 but cat_id is FOODS_1"),
    ),
    Corruption("store against state", SALES, put(3, ",CA,", ",WI,"), ("line 3", "store_id is CA_1 but state_id is WI")),
    # Units
    Corruption("units missing", SALES, put(3, ",13,", ",,"), ("line 3", CA_FOODS, "d_3 is empty", "whole numbers")),
    Corruption("units negative", SALES, put(3, ",14,", ",-14,"), ("line 3", CA_FOODS, "d_4 is '-14'", "whole numbers")),
    Corruption("units fractional", SALES, put(3, ",15,", ",1.5,"), ("line 3", "d_5 is '1.5'")),
    Corruption("units not a number", SALES, put(3, ",16,", ",NA,"), ("line 3", "d_6 is 'NA'")),
    Corruption("units beyond int32", SALES, put(3, ",16,", ",9999999999,"), ("line 3", "d_6 is '9999999999'")),
    Corruption("store missing", SALES, put(3, ",CA_1,", ",,"), ("line 3", "store_id is empty")),
    # Prices
    Corruption(
        "price zero",
        PRICES,
        put(3, "2.97", "0"),
        ("(1 row)", "line 3 (CA_1, HOBBIES_1_001, 11102)", "sell_price is 0", "above 0"),
    ),
    Corruption("price negative", PRICES, put(3, "2.97", "-2.97"), ("line 3", "sell_price is -2.97")),
    Corruption("price infinite", PRICES, put(3, "2.97", "1e99"), ("line 3", "sell_price is inf")),
    Corruption("price nan", PRICES, put(3, "2.97", "nan"), ("line 3", "sell_price is")),
    Corruption(
        "price missing", PRICES, put(3, "2.97", ""), ("line 3 (CA_1, HOBBIES_1_001, 11102)", "sell_price is empty")
    ),
    Corruption("price not a number", PRICES, put(3, "2.97", "$3"), ("line 3", "sell_price is '$3'")),
    Corruption(
        "price twice", PRICES, repeat(3), ("duplicate rows", "line 14 (CA_1, HOBBIES_1_001, 11102)", "Keep one")
    ),
    Corruption(
        "price of an unknown week",
        PRICES,
        put(3, "11102", "11103"),
        ("line 3", "11101 to 11102", "Extend calendar.csv"),
    ),
    Corruption("all prices zero", PRICES, lambda t: re.sub(r"\d\.97", "0", t), ("(12 rows)", "line 6", "and 7 more")),
    # Calendar
    Corruption(
        "calendar gap",
        CALENDAR,
        drop(5),
        ("line 5", "date is '2011-02-02'", "does not follow the date in the previous row"),
    ),
    Corruption(
        "date in another form", CALENDAR, put(5, "2011-02-01", "02/01/2011"), ("line 5", "date is '02/01/2011'")
    ),
    Corruption("date that is none", CALENDAR, put(4, "2011-01-31", "2011-01-32"), ("line 4", "not a date")),
    Corruption(
        "weekday of another date",
        CALENDAR,
        put(5, "Tuesday", "Monday"),
        ("line 5 (2011-02-01, d_4): weekday is 'Monday', but the date is a Tuesday", "Correct these rows"),
    ),
    Corruption(
        "number of another weekday",
        CALENDAR,
        put(5, "Tuesday,4", "Tuesday,2"),
        ("line 5", "wday is '2', but the date has wday 4 (1 is Saturday)"),
    ),
    Corruption(
        "month of another date",
        CALENDAR,
        put(5, ",4,2,2011,", ",4,1,2011,"),
        ("line 5", "month is '1', but the date has month 2"),
    ),
    Corruption(
        "year of another date",
        CALENDAR,
        put(5, ",2,2011,", ",2,2012,"),
        ("line 5", "year is '2012', but the date has year 2011"),
    ),
    Corruption("day number jumps", CALENDAR, put(5, "d_4", "d_5"), ("line 5", "d is 'd_5'")),
    Corruption("SNAP neither 0 nor 1", CALENDAR, put(5, ",,,1,", ",,,2,"), ("line 5", "snap_CA is '2'")),
    Corruption("week runs back", CALENDAR, put(15, "11102", "11101"), ("line 15", "wm_yr_wk is '11101'")),
    Corruption("week of eight days", CALENDAR, put(9, "11102", "11101"), ("line 9", "more than seven days")),
    Corruption("event without type", CALENDAR, put(10, "Sporting", ""), ("line 10", "event_type_1")),
]


@pytest.mark.parametrize("case", CORRUPTIONS, ids=lambda case: case.name)
def test_an_invalid_file_is_named_with_its_rows_and_the_remedy(tmp_path: Path, case: Corruption) -> None:
    path = write_folder(tmp_path) / case.file
    changed = case.change(path.read_text())
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(BadInput) as refusal:
        read_all(str(tmp_path))
    message = str(refusal.value)
    named = SALES if case.name == "state without SNAP" or case.name == "days after the calendar" else case.file
    assert message.startswith(str(tmp_path / named))
    for part in case.says:
        assert part in message
    assert message.endswith(".")
