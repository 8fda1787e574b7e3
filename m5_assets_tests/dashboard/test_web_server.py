"""The commands `m5 dashboard` and `m5 report`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from sqlalchemy import Engine

from m5_assets.dashboard import formatting
from m5_assets_tests.support.dashboard_data import (
    NEWEST,
    Business,
)
from m5_assets_tests.support.dashboard_pages import plain


def test_the_commands_serve_the_pages_and_write_the_report(engine: Engine, business: Business, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    hosts = '["forecasts.example.com"]'
    environment = os.environ | {"M5_HOME": str(tmp_path), "M5_DATABASE_URL": url, "M5_ALLOWED_HOSTS": hosts}
    m5 = str(Path(sys.executable).with_name("m5"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [m5, "dashboard", "--host", "0.0.0.0", "--port", str(port)]  # noqa: S104  # what is tested
    with subprocess.Popen(command, env=environment) as server:
        report = [m5, "report", "--week", str(NEWEST), "--output", str(tmp_path / "week.html")]
        subprocess.run(report, env=environment, check=True)
        shown = answer_within(120, f"http://127.0.0.1:{port}/")
        by_name = {
            name: httpx.get(f"http://127.0.0.1:{port}/items.json", headers={"Host": name}).status_code
            for name in ("forecasts.example.com", "evil.example")
        }
        server.terminate()
        assert server.wait(30) in (0, -signal.SIGTERM)
    assert by_name == {"forecasts.example.com": 200, "evil.example": 400}
    assert f"Week of {formatting.day(NEWEST.first_day)}" in plain(shown)
    assert "Sales forecast, week of" in (tmp_path / "week.html").read_text()


def answer_within(seconds: float, url: str) -> httpx.Response:
    """Return the first response of a starting server."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return httpx.get(url, timeout=30)
        except httpx.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
