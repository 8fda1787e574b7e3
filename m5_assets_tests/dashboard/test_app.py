"""The pages' numbers, files, errors and headers, over HTTP from a real database."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import httpx
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from m5_assets.dashboard import words
from m5_assets.dashboard.app import create_app
from m5_assets.dashboard.database import NoDatabase, reading
from m5_assets.dashboard.last_run import LastRun, last_run_of, patient
from m5_assets.resources.postgres import load, migrate, schema
from m5_assets_tests.dashboard.conftest import served
from m5_assets_tests.support.dashboard_data import (
    GONE,
    LAST_YEAR,
    NEW,
    NEWEST,
    REPRICED,
    RISING,
    RUN,
    SCORED,
    Business,
    arrow,
)

PAGES = ("/", "/explore", "/exceptions", "/accuracy")


def plain(page: httpx.Response) -> str:
    """Return a page's text without tags, its spaces made one."""
    return " ".join(re.sub(r"<script.*?</script>|<[^>]+>", " ", page.text, flags=re.S).split())


def figure(page: httpx.Response, name: str = "daily-chart") -> dict[str, dict[str, list[object]]]:
    """Return a chart's traces by name."""
    found = re.search(rf'id="{name}-figure">(.*?)</script>', page.text, re.S)
    assert found is not None
    return {trace["name"]: trace for trace in json.loads(found[1])["data"]}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("week", ["", f"?week={SCORED}"])
def test_every_page_answers_for_every_week(client: httpx.Client, page: str, week: str) -> None:
    answer = client.get(page + week)
    assert answer.status_code == 200
    assert "nan" not in plain(answer).lower().split()
    assert "None" not in plain(answer)


def test_the_overview_sums_what_was_sold_and_forecast(client: httpx.Client, business: Business) -> None:
    shown = plain(client.get("/"))
    ahead, last = business.forecast(NEWEST)["ensemble"].sum(), int(business.units[:, -28:].sum())
    before = business.days.index(NEWEST.origin + dt.timedelta(days=1) - dt.timedelta(days=35))
    same_weeks = int(business.units[:, before : before + 28].sum())  # the sample repeats them a year before
    assert f"{words.units(float(ahead))} units" in shown
    assert f"{words.change(float(ahead) / last - 1)} on the last 28 days" in shown
    assert f"same weeks: {words.units(same_weeks)} units" in shown
    texas = (business.series["state_id"] == "TX").to_numpy()
    assert f"TX {words.units(float(business.units[texas, -28:].sum()))}" in shown


def test_the_overview_tells_how_fresh_it_is(engine: Engine, business: Business) -> None:
    run = LastRun("weekly_forecast", "2016-05-16", "failure", dt.datetime(2016, 5, 23, 2, 9, tzinfo=dt.UTC))
    with served(create_app(lambda: engine, last_run=lambda: run)) as address:
        shown = plain(httpx.get(address))
    assert "failure weekly_forecast, week 2016-05-16 23 May 2016, 02:09 UTC" in shown
    assert "series_outlook 18" in shown


def test_without_a_dagster_instance_the_last_run_is_not_known(tmp_path: Path) -> None:
    assert last_run_of(tmp_path)() is None
    assert list(tmp_path.iterdir()) == []


def test_the_last_run_is_read_from_dagsters_storage(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        asset = dg.asset(name="forecast")(lambda: None)
        ended = dg.materialize([asset], instance=instance, tags={"dagster/partition": "2016-05-16"})
    read, deadline = last_run_of(tmp_path), time.monotonic() + 30
    while (found := read()) is None and time.monotonic() < deadline:
        pass  # it waits a third of a second by itself
    assert found is not None
    assert (found.week, found.state, found.failed) == ("2016-05-16", "success", False)
    assert ended.success


def test_a_dagster_storage_that_fails_breaks_no_page(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storage:\n  no_such_storage: {}\n")
    assert last_run_of(tmp_path)() is None


def test_a_slow_dagster_storage_holds_up_no_page() -> None:
    run = LastRun("weekly_forecast", None, "started", dt.datetime(2016, 5, 23, tzinfo=dt.UTC))
    answers = threading.Event()
    latest = patient(lambda: run if answers.wait(30) else None, 0.01)
    assert latest() is None
    answers.set()
    deadline = time.monotonic() + 30
    while latest() is None and time.monotonic() < deadline:
        pass  # the read that is under way ends by itself
    assert latest() == run


def test_the_commands_serve_the_pages_and_write_the_report(engine: Engine, business: Business, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    environment = os.environ | {"M5_HOME": str(tmp_path), "M5_DATABASE_URL": url}
    m5 = str(Path(sys.executable).with_name("m5"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([m5, "dashboard", "--port", str(port)], env=environment) as server:
        report = [m5, "report", "--week", str(NEWEST), "--output", str(tmp_path / "week.html")]
        subprocess.run(report, env=environment, check=True)
        shown = answer_within(120, f"http://127.0.0.1:{port}/")
        server.terminate()
        assert server.wait(30) in (0, -signal.SIGTERM)
    assert f"Week of {words.day(NEWEST.first_day)}" in plain(shown)
    assert "Sales forecast, week of" in (tmp_path / "week.html").read_text()


def answer_within(seconds: float, url: str) -> httpx.Response:
    """Return the first answer of a server that is starting."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return httpx.get(url, timeout=30)
        except httpx.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_place_shows_its_days(client: httpx.Client, business: Business) -> None:
    traces = figure(client.get("/explore?store=CA_1&dept=FOODS_1&history=91"))
    rows = ((business.series["store_id"] == "CA_1") & (business.series["dept_id"] == "FOODS_1")).to_numpy()
    assert traces["Sold"]["x"] == [day.isoformat() for day in business.days[-91:]]
    assert traces["Sold"]["y"] == business.units[rows][:, -91:].sum(axis=0).tolist()
    ahead = business.forecast(NEWEST)["gbm"][rows].sum(axis=0)
    assert traces["GBM"]["y"] == pytest.approx(ahead.tolist(), abs=1e-3)
    assert traces["Event"]["text"] == ["Mother's day", "MemorialDay"]
    assert len(traces["Same weeks last year"]["y"]) == 28


def test_an_item_shows_prices_and_promotions(client: httpx.Client) -> None:
    traces = figure(client.get("/explore?store=CA_1&item=FOODS_1_001&history=91"))
    promoted = NEWEST.shift(-2)
    cheap = [day for day, price in zip(traces["Price"]["x"], traces["Price"]["y"], strict=True) if price == 3.2]
    assert cheap[0] == promoted.key
    assert len(cheap) == 7
    assert "Promotion" in traces


def test_a_past_week_shows_what_was_sold_since(client: httpx.Client, business: Business) -> None:
    page = client.get(f"/explore?week={SCORED}&store=CA_1&item={RISING[0]}")
    row = business.row((RISING[0], "CA_1"))
    assert figure(page)["Sold since"]["y"] == business.units[row, -28:].tolist()
    assert "Sold since, in 28 days" in plain(page)


def test_an_item_in_all_stores_is_their_sum(client: httpx.Client, business: Business) -> None:
    page = client.get("/explore?item=FOODS_1_001")
    rows = (business.series["item_id"] == "FOODS_1_001").to_numpy()
    assert figure(page)["Sold"]["y"] == business.units[rows][:, -91:].sum(axis=0).tolist()
    assert "Stores that sell it" in plain(page)


def test_a_place_is_found_from_any_part_of_it(client: httpx.Client) -> None:
    shown = plain(client.get(f"/explore?store={NEW[1]}&item={NEW[0]}"))
    assert f"All stores TX {NEW[1]} HOBBIES HOBBIES_1 {NEW[0]}" in shown


def test_a_wider_choice_leaves_what_contradicts_it(client: httpx.Client) -> None:
    assert "<h1>TX</h1>" in client.get("/explore?state=TX&store=CA_1").text
    assert "<h1>HOBBIES in CA_1</h1>" in client.get("/explore?store=CA_1&cat=HOBBIES&dept=FOODS_1").text
    assert "<h1>FOODS_2</h1>" in client.get("/explore?dept=FOODS_2&item=FOODS_1_001").text


def test_search_finds_items_by_any_part(client: httpx.Client) -> None:
    assert client.get("/items.json?q=foods 1").json() == ["FOODS_1_001", "FOODS_1_002"]
    assert client.get("/items.json?q=%25").json() == []  # no pattern of SQL's
    assert "2 found" in plain(client.get("/explore?q=FOODS_1"))
    assert "<h1>FOODS_1_001</h1>" in client.get("/explore?q=foods_1_001").text
    assert "No item's name holds this" in plain(client.get("/explore?q=bananas"))


def test_exceptions_are_one_of_each_planted_kind(client: httpx.Client) -> None:
    rows = list(csv.DictReader(io.StringIO(client.get("/exceptions.csv").text.removeprefix("\ufeff"))))
    planted = {
        "Likely out of stock": GONE,
        "Sharp rise": RISING,
        "New item": NEW,
        "Price change ahead": REPRICED,
    }
    for kind, (item, store) in planted.items():
        assert (item, store) in {(row["item_id"], row["store_id"]) for row in rows if row["kind"] == kind}
    money = [float(row["dollars_at_stake"]) for row in rows]
    assert money == sorted(money, reverse=True)


def test_exceptions_are_filtered(client: httpx.Client) -> None:
    shown = client.get("/exceptions?kind=out_of_stock&store=CA_1").text
    assert GONE[0] in shown
    assert RISING[0] not in shown
    assert "Nothing breaks a rule here" in client.get("/exceptions?kind=out_of_stock&store=TX_1").text
    assert GONE[0] not in client.get("/exceptions.csv?dept=FOODS_2").text


def test_a_list_is_made_anew_after_a_load(engine: Engine, business: Business) -> None:
    outlook = business.outlook(SCORED)
    new = outlook.assign(first_sale=SCORED.origin)
    with served(create_app(lambda: engine)) as address:
        listed = f"{address}/exceptions.csv?week={SCORED}&kind=new_item"
        before = httpx.get(listed).text
        load.load_series(engine, schema.series_outlook, SCORED.first_day, [arrow(new)], RUN)
        after = httpx.get(listed).text
        load.load_series(engine, schema.series_outlook, SCORED.first_day, [arrow(outlook)], RUN)
        assert httpx.get(listed).text == before
    assert before.count("\n") < after.count("\n") == len(outlook) + 1


def test_accuracy_is_against_the_seasonal_naive(client: httpx.Client) -> None:
    page = client.get(f"/accuracy?week={SCORED}")
    shown = plain(page)
    assert "Ensemble 0.500 WRMSSE" in shown
    assert "Seasonal naive 0.800 WRMSSE" in shown
    assert "Error saved on the naive 37.5%" in shown
    worst = shown[shown.index("Series that cost the most") :]
    assert worst.index(f"{GONE[0]} in {GONE[1]}") < worst.index(f"{RISING[0]} in {RISING[1]}")
    assert len(figure(page, "horizon-chart")["Ensemble"]["x"]) == 4


def test_a_week_not_scored_yet_says_so_and_shows_the_last_that_is(client: httpx.Client) -> None:
    shown = plain(client.get(f"/accuracy?week={NEWEST}"))
    assert "not scored yet" in shown
    assert f"Accuracy, week of {words.day(SCORED.first_day)}" in shown


@pytest.mark.parametrize("path", ["/explore.csv?store=CA_1&item=FOODS_1_001", "/accuracy.csv", "/exceptions.csv"])
def test_a_csv_is_a_table_that_spreadsheets_read(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="[\w.-]+\.csv"', answer.headers["content-disposition"])
    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


def test_a_days_file_holds_what_the_chart_shows(client: httpx.Client, business: Business) -> None:
    answer = client.get("/explore.csv?store=CA_1&item=FOODS_1_001&history=91")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(rows) == 91 + 28
    sold = [float(row["sold"]) for row in rows if row["sold"]]
    assert sold == business.units[business.row(("FOODS_1_001", "CA_1")), -91:].tolist()


@pytest.mark.parametrize("path", ["/explore.xlsx?store=CA_1", "/exceptions.xlsx", "/accuracy.xlsx"])
def test_an_excel_file_is_a_workbook_with_a_note(client: httpx.Client, path: str) -> None:
    with zipfile.ZipFile(io.BytesIO(client.get(path).content)) as book:
        assert book.testzip() is None
        sheets = ElementTree.fromstring(book.read("xl/workbook.xml"))  # noqa: S314  # our own file
        assert [s.get("name") for s in sheets.iter() if s.tag.endswith("}sheet")] == ["Data", "About"]
        data = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314
        assert sum(element.tag.endswith("}row") for element in data.iter()) > 1
        assert b"f>" not in book.read("xl/worksheets/sheet1.xml").replace(b"dataValidation", b"")  # no formula


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("/?week=2011-01-03", "m5 forecast --week"),
        ("/?week=soon", "which holds 2 weeks"),
        ("/explore?item=FOODS_9_999", "search for an item"),
        ("/explore?store=NY_1", "choose a place"),
        ("/explore?history=12", "choose one of 91"),
        ("/explore.pdf", "csv or xlsx"),
        ("/exceptions?kind=odd", "choose one of out_of_stock"),
        ("/exceptions?page=0", "leave it out"),
        ("/accuracy?level=13", "choose 1 to 12"),
        ("/nowhere", "no such page"),
        ("/static/0/dashboard.css", "no such page"),
    ],
)
def test_what_is_not_there_says_what_to_do(client: httpx.Client, path: str, remedy: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert remedy in plain(answer)
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "text_typed", ["'; DROP TABLE m5.series; --", "<script>alert(1)</script>", "%' OR 1=1", ":week"]
)
@pytest.mark.parametrize("path", ["/explore?q=", "/explore?item=", "/exceptions?store=", "/?week=", "/items.json?q="])
def test_what_is_typed_is_neither_sql_nor_html(client: httpx.Client, path: str, text_typed: str) -> None:
    answer = client.get(path + str(httpx.QueryParams({"x": text_typed})).removeprefix("x="))
    assert answer.status_code in (200, 404)
    assert "<script>alert" not in answer.text
    assert client.get("/explore").status_code == 200


def test_scripts_come_from_here_alone(client: httpx.Client) -> None:
    page = client.get("/accuracy")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert not re.search(r"<script(?![^>]*(?:src=|application/json))", page.text)
    assert not re.search(r"\son\w+=", page.text)
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    sources = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert sources
    for source in sources:
        answer = client.get(source)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text)


def test_plotly_is_the_installed_packages(client: httpx.Client) -> None:
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    with client.stream("GET", f"/static/{get_plotlyjs_version()}/plotly.js") as answer:
        sent = b"".join(answer.iter_raw())
    assert gzip.decompress(sent).decode() == get_plotlyjs()
    assert len(sent) < 2_000_000


def test_foreign_names_of_this_machine_are_refused(address: str) -> None:
    assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 400


def test_pages_can_only_read(engine: Engine, business: Business) -> None:
    with pytest.raises(Exception, match="read-only transaction"), reading(lambda: engine) as reader:
        reader.frame("DELETE FROM m5.load_log RETURNING load_id")
    with reading(lambda: engine) as reader:
        assert reader.value("SELECT current_user") == "m5_reader"
        assert reader.value("SELECT has_table_privilege('m5.load_log', 'INSERT')") is False
        assert reader.value("SELECT has_table_privilege('m5.load_log', 'SELECT')") is True


def test_a_fault_of_our_own_is_no_missing_database(engine: Engine, business: Business) -> None:
    with pytest.raises(ProgrammingError), reading(lambda: engine) as reader:
        reader.frame("SELECT 1 +")


def test_no_database_says_what_to_do() -> None:
    gone = create_engine("postgresql+psycopg2://m5:s3cret@127.0.0.1:9/m5")
    with served(create_app(lambda: gone)) as address:
        answer = httpx.get(address)
    assert answer.status_code == 503
    assert "M5_DATABASE_URL" in answer.text
    assert "s3cret" not in answer.text
    with pytest.raises(NoDatabase), reading(lambda: gone):
        pass


@pytest.fixture
def empty(engine: Engine, business: Business) -> Iterator[Engine]:
    """Give another database of the same server, with nothing in it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE empty"))
    other = create_engine(engine.url.set(database="empty"))
    yield other
    other.dispose()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE empty"))


def test_an_empty_database_says_how_to_load_a_week(empty: Engine) -> None:
    with served(create_app(lambda: empty)) as address:
        without_tables = [httpx.get(address + page) for page in PAGES]
        migrate.upgrade(empty)
        without_rows = [httpx.get(address + page) for page in PAGES]
    for answer in (*without_tables, *without_rows):
        assert answer.status_code == 503
        assert "m5 forecast --week" in answer.text


def test_the_sample_has_a_last_year(business: Business) -> None:
    assert NEWEST.origin - LAST_YEAR < business.days[0]  # or the pages could take it from the detail
