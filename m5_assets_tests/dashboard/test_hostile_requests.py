"""Hostile requests on every page: never an error of the server, always the security headers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import anyio
import httpx
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import NoSuchTableError
from starlette.types import ASGIApp

from m5_assets.dashboard.app import create_app
from m5_assets.dashboard.static_files import SECURITY_HEADERS
from m5_assets_tests.support.dashboard_data import Business

PATHS = (
    "/", "/explore", "/explore.csv", "/explore.xlsx", "/items.json", "/exceptions", "/exceptions.csv",
    "/exceptions.xlsx", "/accuracy", "/accuracy.csv", "/accuracy.xlsx",
)  # fmt: skip
PARAMETERS = ("week", "state", "store", "cat", "dept", "item", "history", "page", "kind", "level", "q", "unknown")
VALUES = (
    "", " ", "%00", "a%00b", "%F0%9F%92%A9", "%C3%28", "%ff%fe", "%ED%A0%80", "%", "%zz", "'", "%22", ";", "--", "\\",
    "%5C", "%25", "_", "!", "!%25", ":week", "%(week)s", "{0}", "{{7*7}}", "${7*7}", "<svg onload=alert(1)>", "../..",
    "%2e%2e%2f", "-1", "0", "1", "1e9", "999999", "99999999999999999999", "0x10", "NaN", "Infinity", "None", "null",
    "true", "[]", "%D9%A1", "%C2%B2", "%E2%80%AE", "%E2%80%8B", "2016-05-16", "2016-02-30", "0000-00-00",
    "9999-12-31", "2016-05-16T00:00:00Z", "CA", "CA_1", "FOODS", "FOODS_1", "FOODS_1_001", "out_of_stock", "12",
    "91", "x" * 5000, "%F0%9F%92%A9" * 500, "%0d%0aSet-Cookie:a=b", "%0a",
)  # fmt: skip
ODD_PATHS = (
    "//", "//evil.example/", "/%00", "/explore.%00", "/explore.csv%00", "/explore.", "/explore.CSV",
    "/explore.%E2%80%AE", "/explore/", "/explore/..", "/static", "/static/", "/static/../app.py",
    "/static/0/%2e%2e%2fapp.py", "/static/%00/%00", "/static/0/plotly.js", "/.git/config", "/" + "x" * 5000,
    "/%ff", "/\N{SNOWMAN}", "/items.xml",
)  # fmt: skip
METHODS = ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "ODD")
ODD_HEADERS: tuple[dict[str, str], ...] = (
    {"Host": "evil.example"}, {"Host": ""}, {"Host": "127.0.0.1:x"}, {"Host": "[::1"}, {"Host": "user@127.0.0.1"},
    {"Accept-Encoding": "\N{LATIN SMALL LETTER O WITH STROKE}"},
    {"Accept-Encoding": "br, *;q=0"}, {"Range": "bytes=5-1"},
    {"Cookie": "a=" + "b" * 4000}, {"Content-Type": "multipart/form-data"}, {"X-Forwarded-Host": "evil.example"},
    {"Accept": "application/json"}, {"If-None-Match": "*"}, {"Content-Length": "x"},
)  # fmt: skip


def requests() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield method, target and headers."""
    chosen = random.Random(16)  # noqa: S311  # the same requests each time
    pairs = list(itertools.product(PARAMETERS, VALUES))
    chosen.shuffle(pairs)
    for number, (parameter, value) in enumerate(pairs[:300]):
        path = PATHS[number % len(PATHS)]
        more = "&".join(f"{name}={chosen.choice(VALUES)}" for name in chosen.sample(PARAMETERS, chosen.randint(0, 2)))
        yield "GET", f"{path}?{parameter}={value}&{more}", {}
    yield from (("GET", path, {}) for path in ODD_PATHS)
    yield from ((method, path, {}) for method in METHODS for path in (*PATHS, "/nowhere", "/static/0/x"))
    yield from (("GET", path, headers) for headers in ODD_HEADERS for path in ("/items.json?q=a", "/nowhere"))
    yield "GET", "/explore?" + "&".join(f"item={number}" for number in range(2000)), {}


async def answers(app: ASGIApp, asked: list[tuple[str, str, dict[str, str]]]) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        found = []
        for method, target, headers in asked:
            raw = {name.encode(): value.encode("latin-1", "replace") for name, value in headers.items()}
            path, _, query = target.partition("?")
            url = (
                httpx.URL("http://127.0.0.1", path="/", raw_path=target.encode()) if target.isascii() else path + query
            )
            found.append(await client.request(method, url, headers=raw))
        return found


def test_no_request_is_an_error_of_the_server(engine: Engine, business: Business) -> None:
    assert business
    asked = list(requests())
    assert len(asked) > 400
    for (method, target, headers), answer in zip(
        asked, anyio.run(answers, create_app(lambda: engine), asked), strict=True
    ):
        said = f"{method} {target[:200]} {headers}: {answer.status_code}"
        assert answer.status_code < 500, said
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value, said
        assert "<svg onload" not in answer.text, said
        assert "set-cookie" not in answer.headers, said


@pytest.mark.parametrize(
    "path", ["/?week=%00", "/explore?item=FOODS%00", "/items.json?q=%00", "/exceptions.csv?a%00=1"]
)
def test_a_nul_is_a_bad_request(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 400
    assert "NUL" in answer.text


def test_a_failed_page_has_the_security_headers() -> None:
    def broken() -> Engine:
        raise NoSuchTableError

    asked: list[tuple[str, str, dict[str, str]]] = [("GET", "/", {})]
    [failed] = anyio.run(answers, create_app(broken), asked)
    gone = create_engine("postgresql+psycopg2://127.0.0.1:9/m5")
    [unreachable] = anyio.run(answers, create_app(lambda: gone), asked)
    for answer, status in ((failed, 500), (unreachable, 503)):
        assert answer.status_code == status
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        assert answer.headers["cache-control"] == "no-store"
