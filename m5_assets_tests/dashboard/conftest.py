"""Fixtures: the dashboard on a real PostgreSQL with a small sample, and a headless browser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from sqlalchemy import Engine

from m5_assets.dashboard.app import create_app
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.roles import OWNER, READER
from m5_assets_tests.resources.conftest import new_home
from m5_assets_tests.support import dashboard_data
from m5_assets_tests.support.dashboard_pages import served

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresResource]:
    with new_home() as home:
        postgres = PostgresResource(home=str(home))
        yield postgres
        for role in (READER, OWNER):
            postgres.engine(role).dispose()


@pytest.fixture(scope="session")
def engine(postgres: PostgresResource) -> Engine:
    """Return the engine that the pages read with."""
    return postgres.engine()


@pytest.fixture(scope="session")
def loader(postgres: PostgresResource) -> Engine:
    """Return an engine that loads."""
    return postgres.engine(OWNER)


@pytest.fixture(scope="session")
def business(loader: Engine) -> dashboard_data.Business:
    return dashboard_data.fill(loader)


@pytest.fixture(scope="session")
def address(engine: Engine, business: dashboard_data.Business) -> Iterator[str]:
    with served(create_app(lambda: engine)) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as client:
        yield client


@pytest.fixture(scope="session")
def downloads() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="m5-downloads-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def browser(downloads: Path) -> Iterator[webdriver.Chrome]:
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if not all(programs.values()):
        pytest.fail(f"these tests need a browser, found {programs}: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs["chromium"])
    for flag in (*_FLAGS, f"--user-data-dir={downloads / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(programs["chromedriver"])))
    yield driver
    driver.quit()
