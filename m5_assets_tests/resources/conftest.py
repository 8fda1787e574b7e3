"""A real PostgreSQL for the tests of the resources."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from m5_assets.resources.postgres import migrate, schema
from m5_assets.resources.postgres.connections import engine_of
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.server_binaries import find_launcher


@contextmanager
def new_home() -> Iterator[Path]:
    """Yield a home folder that any account may enter, unlike pytest's own, and stop its server at the end."""
    home = Path(tempfile.mkdtemp(prefix="m5-test-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        EmbeddedServer(home).stop()
        shutil.rmtree(home)


def superuser_of(home: Path) -> Engine:
    """Return the engine of a superuser whom a home's embedded server lets in: it normally lets none in."""
    server, password = EmbeddedServer(home), "not-a-secret"
    server.ensure_running()
    server.stop()
    data = str(server.folder / "data")
    statement = f"CREATE ROLE root SUPERUSER LOGIN PASSWORD '{password}';\n"
    find_launcher().run("postgres", "--single", "-D", data, "m5", text=statement)
    with (server.folder / "data" / "pg_hba.conf").open("a") as file:
        file.write("host all all 127.0.0.1/32 scram-sha-256\n")
    return engine_of(server.ensure_running().set(username="root", password=password), embedded=True)


@pytest.fixture(scope="session")
def postgres_home() -> Iterator[Path]:
    with new_home() as home:
        yield home


@pytest.fixture(scope="session")
def database(postgres_home: Path) -> Iterator[Engine]:
    engine = create_engine(EmbeddedServer(postgres_home).ensure_running())
    yield engine
    engine.dispose()


@pytest.fixture
def engine(database: Engine) -> Engine:
    """Return an engine for a database with empty tables."""
    with database.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {schema.SCHEMA} CASCADE"))
    migrate.upgrade(database)
    return database
