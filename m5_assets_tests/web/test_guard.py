"""The guard's rules, one request each, in front of an application that answers everything."""

from __future__ import annotations

import anyio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from m5_assets.web.guard import Guard
from m5_assets.web.hosts import LOOPBACK

JSON = {"Content-Type": "application/json"}
OWN = {"Host": "localhost:3000", "Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-origin"}
FOLLOWED = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FORM = "multipart/form-data; boundary=x"


async def dagster(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    await PlainTextResponse(f"Dagster got {request.url.query}")(scope, receive, send)


async def sent(method: str, path: str, headers: dict[str, str], *further_hosts: str) -> httpx.Response:
    guard = Guard(dagster, {*LOOPBACK, *further_hosts})
    transport = httpx.ASGITransport(guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client:
        return await client.request(method, path, headers=headers)


def answer(method: str, path: str, headers: dict[str, str], *further_hosts: str) -> httpx.Response:
    return anyio.run(sent, method, path, headers, *further_hosts)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/graphql", JSON),  # a program
        ("POST", "/graphql?op=Runs", JSON | OWN),
        ("POST", "/graphql", {"Content-Type": "application/json; charset=utf-8", **OWN}),
        ("POST", "/graphql", {**JSON, "Host": "[::1]:3000", "Origin": "http://[::1]:3000"}),
        ("POST", "/graphql", {**JSON, "Host": "LOCALHOST:3000", "Origin": "http://localhost:3000"}),
        ("POST", "/report_asset_materialization/sales?partition=1", {}),
        ("GET", "/runs/1", {"Sec-Fetch-Site": "none"}),
        ("GET", "/runs/1", {"Sec-Fetch-Site": "cross-site", **FOLLOWED}),  # the link in an alert
        ("GET", "/_next/static/app.js", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/notebook?path=a", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "iframe"}),
        ("HEAD", "/", {}),
        ("GET", "/server_info", {"Host": "10.0.3.7:3000"}),  # a load balancer's health check
    ],
)
def test_what_own_pages_and_programs_send_gets_through(method: str, path: str, headers: dict[str, str]) -> None:
    assert answer(method, path, headers).status_code == 200


@pytest.mark.parametrize(
    ("status", "method", "path", "headers"),
    [
        (400, "GET", "/", {"Host": "evil.example:3000"}),
        (400, "GET", "/", {"Host": "127.0.0.1.evil.example"}),
        (400, "GET", "/", {"Host": "localhost:3000@evil.example"}),
        (400, "GET", "/", {"Host": ""}),
        (400, "GET", "/server_info/", {"Host": "evil.example"}),
        (400, "POST", "/server_info", {"Host": "evil.example", **JSON}),
        (400, "POST", "/graphql", {**JSON, "Host": "evil.example", "Origin": "http://evil.example"}),
        (405, "GET", "/graphql?query=mutation{x}", {}),
        (405, "GET", "/graphql?query={version}", OWN),
        (405, "HEAD", "/graphql?query={version}", OWN),
        (405, "GET", "/%67raphql?query={version}", {}),
        (405, "PUT", "/graphql", JSON),
        (405, "OPTIONS", "/graphql", OWN),
        (415, "POST", "/graphql", {}),
        (415, "POST", "/graphql?query=mutation{x}", {"Content-Type": "text/plain"}),
        (415, "POST", "/graphql", {"Content-Type": "text/plain; application/json"}),
        (415, "POST", "/graphql", {"Content-Type": "application/graphql"}),
        (415, "POST", "/graphql", {"Content-Type": FORM, **OWN}),
        (415, "POST", "/report_asset_check/sales", {"Content-Type": FORM}),
        (403, "POST", "/graphql", {**JSON, "Origin": "http://localhost:8000", "Host": "localhost:3000"}),
        (403, "POST", "/graphql", {**JSON, "Origin": "http://localhost", "Host": "localhost:3000"}),
        (403, "POST", "/graphql", {**JSON, "Origin": "http://localhost.evil.example:3000", "Host": "localhost:3000"}),
        (403, "POST", "/graphql", {**JSON, "Origin": "null"}),
        (403, "POST", "/graphql", {**JSON, "Origin": "http://[bad"}),
        (403, "POST", "/graphql", {**JSON, "Origin": "http://127.0.0.1:99999"}),
        (403, "POST", "/graphql", {**JSON, "Sec-Fetch-Site": "same-site"}),  # another port of this machine
        (403, "POST", "/graphql", {**JSON, "Sec-Fetch-Site": "cross-site", **FOLLOWED}),
        (403, "POST", "/report_asset_materialization/sales", {"Sec-Fetch-Site": "cross-site"}),
        (403, "GET", "/logs/1/out", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        (403, "GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        (403, "GET", "/", {"Sec-Fetch-Site": "unheard-of"}),
    ],
)
def test_what_other_pages_can_send_is_refused(status: int, method: str, path: str, headers: dict[str, str]) -> None:
    found = answer(method, path, headers)
    assert found.status_code == status
    assert "Dagster got" not in found.text
    assert found.headers["content-type"].startswith("text/plain")


def test_graphiql_opens_without_a_query() -> None:
    found = answer("GET", "/graphql?query=mutation{x}", {"Accept": "text/html"})
    assert found.text == "Dagster got "


def test_a_proxy_that_ends_tls_passes_its_name() -> None:
    name = "forecasts.example.com"
    own = {**JSON, "Host": name, "Origin": f"https://{name}"}
    assert answer("POST", "/graphql", own).status_code == 400
    assert answer("POST", "/graphql", own, name).status_code == 200
    assert answer("POST", "/graphql", {**own, "Origin": f"https://{name}:8443"}, name).status_code == 403


@pytest.mark.parametrize("headers", [{}, {"Host": "evil.example"}])
def test_every_answer_forbids_foreign_frames_and_sniffing(headers: dict[str, str]) -> None:
    found = answer("GET", "/", headers)
    assert "frame-ancestors 'self'" in found.headers.get_list("content-security-policy")
    assert found.headers["x-frame-options"] == "SAMEORIGIN"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cross-origin-resource-policy"] == "same-origin"


def test_two_host_headers_are_refused() -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Guard(dagster, LOOPBACK))) as client:
            request = client.build_request("GET", "http://localhost/")
            request.headers = httpx.Headers([("Host", "localhost"), ("Host", "evil.example")])
            return await client.send(request)

    assert anyio.run(ask).status_code == 400
