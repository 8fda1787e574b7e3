"""Routes and error pages, over HTTP from a real database."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import create_engine

from m5_assets.dashboard.app import create_app
from m5_assets.dashboard.database import NoDatabase, reading
from m5_assets.resources.postgres import PostgresResource, migrate
from m5_assets.resources.postgres.roles import OWNER, READER, WRITER
from m5_assets_tests.resources.conftest import new_home
from m5_assets_tests.support.dashboard_data import (
    SCORED,
)
from m5_assets_tests.support.dashboard_pages import plain, served

PAGES = ("/", "/explore", "/exceptions", "/accuracy")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("week", ["", f"?week={SCORED}"])
def test_every_page_loads_for_every_week(client: httpx.Client, page: str, week: str) -> None:
    answer = client.get(page + week)
    assert answer.status_code == 200
    assert "nan" not in plain(answer).lower().split()
    assert "None" not in plain(answer)


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
        ("/exceptions?page=999", "past the last page: leave it out"),
        ("/exceptions?kind=out_of_stock&page=999", "past the last page: leave it out"),
        ("/explore?page=999", "past the last page: leave it out"),
        ("/explore?dept=FOODS_1&store=CA_1&page=999", "past the last page: leave it out"),
        ("/accuracy?level=13", "choose 1 to 12"),
        ("/nowhere", "no such page"),
        ("/static/0/dashboard.css", "no such page"),
    ],
)
def test_a_missing_page_says_what_to_do(client: httpx.Client, path: str, remedy: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert remedy in plain(answer)
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "text_typed", ["'; DROP TABLE m5.series; --", "<script>alert(1)</script>", "%' OR 1=1", ":week"]
)
@pytest.mark.parametrize("path", ["/explore?q=", "/explore?item=", "/exceptions?store=", "/?week=", "/items.json?q="])
def test_user_input_is_never_run_as_sql_or_html(client: httpx.Client, path: str, text_typed: str) -> None:
    answer = client.get(path + str(httpx.QueryParams({"x": text_typed})).removeprefix("x="))
    assert answer.status_code in (200, 404)
    assert "<script>alert" not in answer.text
    assert client.get("/explore").status_code == 200


def test_unknown_host_headers_are_rejected(address: str) -> None:
    answer = httpx.get(address, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "M5_ALLOWED_HOSTS" in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_without_a_database_pages_say_what_to_do() -> None:
    gone = create_engine("postgresql+psycopg2://m5:s3cret@127.0.0.1:9/m5")
    with served(create_app(lambda: gone)) as address:
        answer = httpx.get(address)
    assert answer.status_code == 503
    assert "M5_DATABASE_URL" in answer.text
    assert "s3cret" not in answer.text
    with pytest.raises(NoDatabase), reading(lambda: gone):
        pass


@pytest.fixture
def empty() -> Iterator[PostgresResource]:
    """Yield a second, empty database."""
    with new_home() as home:
        other = PostgresResource(home=str(home))
        yield other
        for role in (READER, WRITER, OWNER):
            other.engine(role).dispose()


def test_an_empty_database_says_how_to_load_a_week(empty: PostgresResource) -> None:
    with served(create_app(empty.engine)) as address:
        without_tables = [httpx.get(address + page) for page in PAGES]
        migrate.ensure_newest(empty)
        without_rows = [httpx.get(address + page) for page in PAGES]
    for answer in (*without_tables, *without_rows):
        assert answer.status_code == 503
        assert "m5 forecast --week" in answer.text
