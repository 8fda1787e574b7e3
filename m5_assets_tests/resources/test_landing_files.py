"""Reading landing files: what a valid folder holds, and that damage raises `BadInput` alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
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
from m5_assets_tests.support.landing_folders import (
    CALENDAR,
    DAYS,
    ITEMS,
    PRICES,
    SALES,
    STORES,
    assert_same,
    read_all,
    units_of,
    write_folder,
)


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


def test_a_long_file_of_carriage_returns_is_read_in_blocks(tmp_path: Path) -> None:
    rows = [f"CA_1,FOODS_1_{number:06},11101,1.5" for number in range(350_000)]
    (write_folder(tmp_path) / PRICES).write_text("\r".join(["store_id,item_id,wm_yr_wk,sell_price", *rows]))
    assert (tmp_path / PRICES).stat().st_size > 8 << 20
    assert Landing(str(tmp_path)).sell_prices().num_rows == len(rows)


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


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@settings(deadline=None)
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
