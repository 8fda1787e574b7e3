"""The downloads as CSV and Excel."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from urllib.parse import unquote
from xml.etree import ElementTree

import httpx
import pandas as pd
import pytest

from m5_assets.dashboard.downloads import download
from m5_assets_tests.support.dashboard_data import (
    Business,
)


@pytest.mark.parametrize("path", ["/explore.csv?store=CA_1&item=FOODS_1_001", "/accuracy.csv", "/exceptions.csv"])
def test_a_csv_download_is_a_rectangular_table(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="[\w.-]+\.csv"', answer.headers["content-disposition"])
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


def test_a_download_matches_the_chart(client: httpx.Client, business: Business) -> None:
    answer = client.get("/explore.csv?store=CA_1&item=FOODS_1_001&history=91")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 91 + 28
    sold = [float(row["sold"]) for row in rows if row["sold"]]
    assert sold == business.units[business.row(("FOODS_1_001", "CA_1")), -91:].tolist()


def test_every_cell_that_begins_a_formula_is_escaped() -> None:
    texts = [None, "=1+1", "x", "-2", "@a", "a;=1", "\tb", "\uff1d1", "a-1", "x=1"]
    frame = pd.DataFrame({"text": texts, "mixed": [1.5, "+1", *[-1.0] * 8], "number": -1.0})
    answer = download(frame, "sales", "csv", "")
    rows = list(csv.DictReader(io.StringIO(bytes(answer.body).decode("utf-8-sig"), newline="")))
    assert [row["text"] for row in rows] == [
        "", "'=1+1", "x", "'-2", "'@a", "a;'=1", "'\tb", "'\uff1d1", "a-1", "x=1",
    ]  # fmt: skip
    assert [row["mixed"] for row in rows] == ["1.5", "'+1", *["-1.0"] * 8]
    assert {row["number"] for row in rows} == {"-1.0000"}


@pytest.mark.parametrize("name", ["a" * 400 + "-2016-05-16", "\N{SNOWMAN}" * 200 + "-2016-05-16"])
def test_a_long_name_keeps_its_end(name: str) -> None:
    header = download(pd.DataFrame({"a": [1]}), name, "xlsx", "").headers["content-disposition"]
    assert unquote(header).endswith(("-2016-05-16.xlsx", '-2016-05-16.xlsx"'))
    assert len(unquote(header.rpartition("=")[2]).encode()) < 220


@pytest.mark.parametrize("path", ["/explore.xlsx?store=CA_1", "/exceptions.xlsx", "/accuracy.xlsx"])
def test_an_excel_download_has_a_note_and_no_formulas(client: httpx.Client, path: str) -> None:
    with zipfile.ZipFile(io.BytesIO(client.get(path).content)) as book:
        assert book.testzip() is None
        sheets = ElementTree.fromstring(book.read("xl/workbook.xml"))  # noqa: S314  # our own file
        assert [s.get("name") for s in sheets.iter() if s.tag.endswith("}sheet")] == ["Data", "About"]
        data = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314
        assert sum(element.tag.endswith("}row") for element in data.iter()) > 1
        assert b"f>" not in book.read("xl/worksheets/sheet1.xml").replace(b"dataValidation", b"")  # no formula
