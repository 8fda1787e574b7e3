"""Static files and security headers."""

from __future__ import annotations

import gzip
import re

import httpx


def test_scripts_come_only_from_this_server(client: httpx.Client) -> None:
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


def test_plotly_comes_from_the_installed_package(client: httpx.Client) -> None:
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    with client.stream("GET", f"/static/{get_plotlyjs_version()}/plotly.js") as answer:
        sent = b"".join(answer.iter_raw())
    assert gzip.decompress(sent).decode() == get_plotlyjs()
    assert len(sent) < 2_000_000
