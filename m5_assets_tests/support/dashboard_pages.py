"""Serve the dashboard for a test, and read the pages it returns."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.types import ASGIApp


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a free local port and yield its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def plain(page: httpx.Response) -> str:
    """Return a page's text without tags and with single spaces."""
    return " ".join(re.sub(r"<script.*?</script>|<[^>]+>", " ", page.text, flags=re.S).split())


def figure(page: httpx.Response, name: str = "daily-chart") -> dict[str, dict[str, list[object]]]:
    """Return a chart's traces by name, from the JSON in the page."""
    found = re.search(rf'id="{name}-figure">(.*?)</script>', page.text, re.S)
    assert found is not None
    return {trace["name"]: trace for trace in json.loads(found[1])["data"]}
