"""Every id that may be landed works in links, searches and downloads: signs of URLs, HTML and spreadsheets."""

from __future__ import annotations

import csv
import html
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from sqlalchemy import Engine, text

from m5_assets.dashboard.app import create_app
from m5_assets.resources.landing_files.ids import id_fault
from m5_assets_tests.support.dashboard_data import GONE, NEWEST, SCORED, STATES, Business
from m5_assets_tests.support.dashboard_pages import plain, served

ITEM, STORE, STATE = '=Müsli & "Nüsse" #1 50%+', "Zürich & Köln+#1 100%", "日本 <b>'é'<i>;=1+1"
DEPT, CAT = "Früchte?&=%26 #", "+Lebensmittel % & mehr"
RENAMED = {
    "item_id": {GONE[0]: ITEM},
    "store_id": {GONE[1]: STORE},
    "state_id": {STATES[GONE[1]]: STATE},
    "dept_id": {"FOODS_1": DEPT},
    "cat_id": {"FOODS": CAT},
}
ODD = {ITEM, STORE, STATE, DEPT, CAT}
TABLES = {
    "item": ("dept_id", "cat_id"),
    "store": ("state_id",),
    "series": ("item_id", "store_id"),
    "store_dept_sales": ("store_id", "dept_id"),
    "store_dept_forecast": ("store_id", "dept_id"),
    "aggregate_accuracy": tuple(RENAMED),
}


def rename(engine: Engine, names: dict[str, dict[str, str]]) -> None:
    with engine.begin() as connection:

        def run(query: str, old: str, new: str) -> None:
            connection.execute(text(query), {"old": old, "new": new})

        for old, new in names["item_id"].items():
            run("INSERT INTO m5.item SELECT :new, dept_id, cat_id FROM m5.item WHERE item_id = :old", old, new)
        for old, new in names["store_id"].items():
            run("INSERT INTO m5.store SELECT :new, state_id FROM m5.store WHERE store_id = :old", old, new)
        for table, columns in TABLES.items():
            for column in columns:
                for old, new in names[column].items():
                    run(f"UPDATE m5.{table} SET {column} = :new WHERE {column} = :old", old, new)  # noqa: S608  # ours
        for old, new in names["item_id"].items():
            run("DELETE FROM m5.item WHERE item_id = :old AND :new <> :old", old, new)
        for old, new in names["store_id"].items():
            run("DELETE FROM m5.store WHERE store_id = :old AND :new <> :old", old, new)


@pytest.fixture(scope="module")
def odd(engine: Engine, loader: Engine, business: Business) -> Iterator[httpx.Client]:
    """Yield a client of a dashboard whose places have odd names."""
    assert business
    rename(loader, RENAMED)
    with served(create_app(lambda: engine)) as address, httpx.Client(base_url=address) as client:
        yield client
    rename(loader, {column: {new: old for old, new in names.items()} for column, names in RENAMED.items()})


def links(page: httpx.Response) -> set[str]:
    return {html.unescape(link) for link in re.findall(r'href="([^"]*)"', page.text) if link.startswith("/")}


def names(link: str) -> set[str]:
    """Return the odd names in a link's query."""
    return ODD & {value for values in parse_qs(urlsplit(link).query).values() for value in values}


def kind(link: str) -> tuple[str, frozenset[str]]:
    """Return the page and its odd names: one link of each kind is followed."""
    return urlsplit(link).path, frozenset(names(link))


def file_name(answer: httpx.Response) -> str:
    found = re.search(r"filename\*=UTF-8''([^;]+)$", answer.headers["content-disposition"])
    assert found is not None
    return unquote(found[1])


def test_the_names_may_be_landed() -> None:
    assert {id_fault(name) for name in ODD} == {None}


def test_every_link_leads_to_a_page_or_a_file(odd: httpx.Client) -> None:
    todo = {"/", f"/accuracy?week={SCORED}&level=12", "/explore?q=M%C3%BCsli+%26", "/exceptions"}
    seen: dict[tuple[str, frozenset[str]], str] = {}
    while new := [link for link in sorted(todo) if kind(link) not in seen]:
        link = seen[kind(new[0])] = new[0]
        answer = odd.get(link)
        assert answer.status_code == 200, link
        if answer.headers["content-type"].startswith("text/html"):
            assert all(name in html.unescape(plain(answer)) for name in names(link)), link
            todo |= {found for found in links(answer) if names(found)}
    assert set().union(*(names(link) for link in seen.values())) == ODD
    assert {Path(urlsplit(link).path).suffix for link in seen.values()} == {"", ".csv", ".xlsx"}


def test_a_download_is_named_after_its_place(odd: httpx.Client) -> None:
    answer = odd.get("/explore.csv?" + urlencode({"store": STORE, "item": ITEM}))
    name = file_name(answer)
    assert name.endswith(f"{ITEM.replace(chr(34), '_')}-{NEWEST}.csv")
    assert re.match(r'attachment; filename="[ !#-$&-~]+\.csv"; ', answer.headers["content-disposition"])
    assert file_name(odd.get("/explore.xlsx?" + urlencode({"item": ITEM, "store": STORE}))).endswith(".xlsx")


def test_no_cell_of_a_csv_file_is_a_formula(odd: httpx.Client) -> None:
    answer = odd.get("/exceptions.csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert {ITEM, "FOODS_2_003"} <= {row["item_id"].removeprefix("'") for row in rows}
    for cell in (cell for row in rows for cell in row.values()):
        assert not re.search(r"(^|;)[=+@]", cell)
    assert {row["item_id"] for row in rows if ITEM in row["item_id"]} == {f"'{ITEM}"}
    assert {row["cat_id"] for row in rows if CAT in row["cat_id"]} == {f"'{CAT}"}


def test_the_browser_saves_the_file_under_its_name(odd: httpx.Client, browser: Chrome, downloads: Path) -> None:
    browser.get(f"{odd.base_url}/explore?" + urlencode({"store": STORE}, quote_via=quote))
    assert browser.find_element(By.TAG_NAME, "h1").text == STORE
    browser.find_element(By.LINK_TEXT, "CSV").click()
    target = downloads / f"{STATE.translate({ord(c): '_' for c in '<>'})}-{STORE}-{NEWEST}.csv"
    deadline = time.monotonic() + 20
    while not (target.exists() and target.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert target.read_bytes().startswith(b"\xef\xbb\xbfdate,"), [path.name for path in downloads.iterdir()]
