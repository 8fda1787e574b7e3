"""Reading landing files: valid folders, and the message for every kind of invalid file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from m5_assets.resources.landing_files import BadInput, Landing, content_by_week

CALENDAR, PRICES, SALES = "calendar.csv", "sell_prices.csv", "sales_train_evaluation.csv"
DAYS = range(3, 13)
ITEMS = ("HOBBIES_1_001", "FOODS_1_001", "FOODS_1_002")
STORES = ("CA_1", "WI_3")


def units_of(item: str, store: str) -> list[int]:
    return [(ITEMS.index(item) + 3 * STORES.index(store)) * 10 + day for day in DAYS]


def write_folder(folder: Path, kind: str = "evaluation") -> Path:
    """Write a valid folder: 2 stores x 3 items, 14 calendar days, sales of d_3 to d_12."""
    folder.mkdir(exist_ok=True)
    calendar = [
        "date,wm_yr_wk,weekday,wday,month,year,d,event_name_1,event_type_1,event_name_2,event_type_2,snap_CA,snap_WI"
    ]
    for index, day in enumerate(pd.date_range("2011-01-29", periods=14)):
        event = "SuperBowl,Sporting" if index == 8 else ","
        calendar.append(
            f"{day:%Y-%m-%d},{11101 + index // 7},{day:%A},{index % 7 + 1},{day.month},{day.year},d_{index + 1},"
            f"{event},,,{int(day.day <= 10)},{int(day.day == 2)}"
        )
    sales = ["id,item_id,dept_id,cat_id,store_id,state_id," + ",".join(f"d_{day}" for day in DAYS)]
    prices = ["store_id,item_id,wm_yr_wk,sell_price"]
    for store in STORES:
        for item in ITEMS:
            dept = item[:-4]
            units = ",".join(map(str, units_of(item, store)))
            sales.append(f"{item}_{store}_{kind},{item},{dept},{dept[:-2]},{store},{store[:2]},{units}")
            prices += [f"{store},{item},{week},{week - 11100}.97" for week in (11101, 11102)]
    for name, lines in ((CALENDAR, calendar), (PRICES, prices), (f"sales_train_{kind}.csv", sales)):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def read_all(root: str) -> list[pd.DataFrame]:
    landing = Landing(root)
    sales = landing.sales()
    return [landing.calendar(), landing.sell_prices().to_pandas(), sales.series, pd.DataFrame(sales.units)]


def assert_same(found: list[pd.DataFrame], expected: list[pd.DataFrame]) -> None:
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("kind", ["evaluation", "validation"])
def test_a_valid_folder_is_read_as_written(tmp_path: Path, kind: str) -> None:
    landing = Landing(str(write_folder(tmp_path, kind)))
    assert landing.sales_days() == DAYS

    calendar = landing.calendar()
    assert calendar.columns.tolist()[:4] == ["date", "wm_yr_wk", "d", "event_name_1"]
    assert calendar["date"].dtype == "datetime64[s]"
    assert calendar["d"].tolist() == list(range(1, 15))
    assert calendar["event_name_1"].tolist() == [""] * 8 + ["SuperBowl"] + [""] * 5
    assert calendar["snap_WI"].tolist() == [day.day == 2 for day in calendar["date"]]

    prices = landing.sell_prices()
    assert prices.num_rows == 12
    assert prices["sell_price"].to_pylist() == pytest.approx([1.97, 2.97] * 6)
    assert prices["store_id"].to_pylist()[:3] == ["CA_1"] * 3

    sales = landing.sales()
    assert (sales.first_day, sales.last_day) == (3, 12)
    assert sales.units.dtype == np.int32
    expected = [(store, item) for store in STORES for item in sorted(ITEMS)]
    assert list(zip(sales.series["store_id"], sales.series["item_id"], strict=True)) == expected
    assert sales.units.tolist() == [units_of(item, store) for store, item in expected]
    assert sales.series.iloc[0].tolist() == ["FOODS_1_001", "FOODS_1", "FOODS", "CA_1", "CA"]


def test_the_evaluation_file_is_preferred(tmp_path: Path) -> None:
    write_folder(tmp_path, "validation")
    validation = tmp_path / "sales_train_validation.csv"
    validation.write_text(validation.read_text().replace(",d_12", ""))
    write_folder(tmp_path)
    assert Landing(str(tmp_path)).sales_days() == DAYS


@pytest.mark.parametrize("rewrite", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_crlf_and_a_byte_order_mark_make_no_difference(tmp_path: Path, rewrite: Callable[[str], str]) -> None:
    expected = read_all(str(write_folder(tmp_path)))
    for name in (CALENDAR, PRICES, SALES):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_bytes(rewrite(text).encode())
    assert_same(read_all(str(tmp_path)), expected)


def test_blocks_of_a_long_file_keep_their_order(tmp_path: Path) -> None:
    write_folder(tmp_path)
    header = (tmp_path / SALES).read_text().splitlines()[0]
    count = 90_000  # more than one block of 8 MiB
    lines = [
        f"FOODS_1_{i:06}_CA_1_evaluation,FOODS_1_{i:06},FOODS_1,FOODS,CA_1,CA" + f",{i % 800:05}" * len(DAYS)
        for i in reversed(range(count))
    ]
    (tmp_path / SALES).write_text("\n".join([header, *lines]) + "\n")
    assert (tmp_path / SALES).stat().st_size > 8 << 20
    units = Landing(str(tmp_path)).sales().units
    assert (units == np.arange(count)[:, None] % 800).all()


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
        ("line 3", "item_id FOODS_1_001 does not belong to dept_id FOODS_2"),
    ),
    Corruption(
        "department against category",
        SALES,
        put(3, ",FOODS,", ",FOOD,"),
        ("line 3", "dept_id FOODS_1 does not belong to cat_id FOOD"),
    ),
    Corruption(
        "store against state", SALES, put(3, ",CA,", ",WI,"), ("line 3", "store_id CA_1 does not belong to state_id WI")
    ),
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


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@given(seed=st.integers(0, 999), row=st.integers(0, 11), column=st.sampled_from(["store_id", "item_id", "sell_price"]))
def test_the_hash_of_a_weeks_prices_ignores_row_order(seed: int, row: int, column: str) -> None:
    weeks = [11101, 11102]
    keys = pd.MultiIndex.from_product([STORES, ITEMS, weeks], names=["store_id", "item_id", "wm_yr_wk"])
    frame: Any = keys.to_frame(index=False).astype({"wm_yr_wk": "int32"})
    frame["sell_price"] = np.random.default_rng(seed).uniform(0.1, 9, len(frame)).astype(np.float32)
    calendar = pd.DataFrame(
        {"date": pd.to_datetime(["2011-01-29", "2011-01-30", "2011-02-05"]), "wm_yr_wk": [11101, 11101, 11102]}
    )

    def named(rows: Any) -> dict[str, str]:
        table = pa.Table.from_pandas(rows, preserve_index=False)
        for place, name in enumerate(("store_id", "item_id")):
            table = table.set_column(place, name, table[name].cast(pa.string()).dictionary_encode())
        return content_by_week(table, calendar)

    found = named(frame)
    assert list(found) == ["2011-01-29", "2011-02-05"]
    assert named(frame.sample(frac=1, random_state=seed)) == found
    changed = frame.copy()
    changed.loc[row, column] = "X" if column != "sell_price" else frame.loc[row, "sell_price"] * 2
    other = named(changed)
    assert [week for week in found if other[week] != found[week]] == [
        list(found)[weeks.index(frame.loc[row, "wm_yr_wk"])]
    ]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([CALENDAR, PRICES, SALES]), st.integers(0, 10**6), st.binary(max_size=2), st.booleans())
def test_a_damaged_file_raises_bad_input_and_nothing_else(
    scratch: Path, name: str, where: int, put: bytes, insert: bool
) -> None:
    content = (write_folder(scratch) / name).read_bytes()
    at = where % len(content)
    (scratch / name).write_bytes(content[:at] + put + content[at + (0 if insert else 1) :])
    with suppress(BadInput):  # a changed digit goes unnoticed; any other damage must raise only this
        read_all(str(scratch))


def test_an_unclosed_quote_in_a_long_file_is_reported_with_its_line(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / PRICES
    rows = [
        f'CA_1,"FOODS_1_{number:06},11101,1.0' if number == 3 else f"CA_1,FOODS_1_{number:06},11101,1.0"
        for number in range(20_000)
    ]
    path.write_text("\n".join(["store_id,item_id,wm_yr_wk,sell_price", *rows]) + "\n")
    with pytest.raises(BadInput, match=r"sell_prices\.csv: bad values .*line [\d,]+"):
        Landing(str(tmp_path)).sell_prices()


def test_the_message_names_the_first_bad_rows_and_counts_all(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / SALES
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row + ".5" for row in rows)]) + "\n")
    with pytest.raises(BadInput, match=r"\(6 rows\): line 2 .*line 6 .*; and 1 more\."):
        Landing(str(tmp_path)).sales()


def test_a_folder_with_the_files_name_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / CALENDAR).mkdir()
    with pytest.raises(BadInput, match="missing file"):
        Landing(str(tmp_path)).calendar()


@pytest.fixture
def s3_endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_a_folder_on_s3_reads_like_a_local_one(
    tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_all(str(write_folder(tmp_path)))
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="retailer")
    for path in tmp_path.iterdir():
        client.upload_file(str(path), "retailer", f"extracts/m5/{path.name}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # the S3-specific variable takes precedence
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    assert_same(read_all("s3://retailer/extracts/m5/"), expected)
    with pytest.raises(BadInput, match=r"s3://retailer/nowhere/calendar\.csv: missing file"):
        Landing("s3://retailer/nowhere").calendar()
