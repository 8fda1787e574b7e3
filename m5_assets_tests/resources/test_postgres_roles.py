"""The roles, with real users: one that may create roles, one that may not, and a reader."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from m5_assets.resources.postgres import migrate, roles
from m5_assets_tests.resources.conftest import new_home, superuser_of
from m5_assets_tests.resources.test_postgres_load import WEEK, ask, forecast_of, load_forecast, summary


@pytest.fixture
def bare(administered: Engine) -> Engine:
    """Return the superuser's engine for a server without the schema and the roles."""
    _forget(administered)
    return administered


@pytest.fixture(scope="module")
def administered() -> Iterator[Engine]:
    with new_home() as home:
        engine = superuser_of(home)
        yield engine
        engine.dispose()


def _forget(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS m5 CASCADE"))
        connection.execute(text("GRANT CONNECT, TEMPORARY ON DATABASE m5 TO PUBLIC"))  # as of a new database
        for role in (roles.READER, roles.WRITER, roles.OWNER):
            if connection.execute(text("SELECT to_regrole(:role) IS NOT NULL"), {"role": role}).scalar_one():
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))


@contextmanager
def user(engine: Engine, name: str, *statements: str) -> Iterator[Engine]:
    """Yield the engine of a new login user; each statement is run with the user's name appended."""
    password = "not-a-secret"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
        for statement in statements:
            connection.execute(text(f"{statement} {name}"))
    own = create_engine(engine.url.set(username=name, password=password))
    try:
        yield own
    finally:
        own.dispose()
        with engine.begin() as connection:
            connection.execute(text(f"REASSIGN OWNED BY {name} TO CURRENT_USER"))
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))


def test_a_reader_reads_everything_including_later_loads_and_writes_nothing(bare: Engine) -> None:
    migrate.upgrade(bare)
    load_forecast(bare, WEEK, forecast_of(3))
    with user(bare, "dashboard", f"GRANT {roles.READER} TO") as reader:
        load_forecast(bare, WEEK, forecast_of(4))
        count = forecast_of(4).num_rows
        assert summary(reader)[0] == count
        for relation in ("m5.forecast_2016_04_18", "m5.bi_forecast"):
            assert ask(reader, f"SELECT count(*) FROM {relation}") == [(count,)]  # noqa: S608  # our own names
        for statement in ("DELETE FROM m5.series", "CREATE TABLE m5.mine (a int)", "DROP TABLE m5.forecast_2016_04_18"):
            refused = pytest.raises(ProgrammingError, match=r"permission denied|must be owner")
            with refused, reader.begin() as connection:
                connection.execute(text(statement))
        with pytest.raises(roles.NotAWriter, match="GRANT m5_writer TO dashboard"):
            load_forecast(reader, WEEK, forecast_of(2))


def test_a_user_who_may_create_roles_need_not_be_superuser(bare: Engine) -> None:
    """The master user of RDS is such a user."""
    with user(bare, "master", "ALTER ROLE master CREATEROLE; GRANT CREATE ON DATABASE m5 TO") as master:
        migrate.upgrade(master)
        load_forecast(master, WEEK, forecast_of(3))
        with user(bare, "pipeline", f"GRANT {roles.WRITER} TO") as writer:
            migrate.upgrade(writer)
            load_forecast(writer, WEEK, forecast_of(5, 2.0))
            load_forecast(master, WEEK, forecast_of(4, 3.0))  # each can replace what the other loaded
            assert summary(writer) == (forecast_of(4).num_rows, 3.0, 3.0)
        assert ask(bare, "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'm5'") == [("m5_writer",)]


def test_a_user_who_may_not_create_roles_gets_a_warning_and_can_load(
    bare: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with user(bare, "tenant", "GRANT CREATE ON DATABASE m5 TO") as tenant:
        with caplog.at_level(logging.WARNING, logger="m5_assets"):
            migrate.upgrade(tenant)
        assert "tenant may not create m5_reader" in caplog.text
        assert "CREATE ROLE m5_writer NOLOGIN; GRANT m5_writer TO tenant" in caplog.text
        load_forecast(tenant, WEEK, forecast_of(3))

        with bare.begin() as connection:  # what the warning tells the administrator to do
            for statement in ("CREATE ROLE m5_reader", "CREATE ROLE m5_writer", "GRANT m5_writer TO tenant"):
                connection.execute(text(statement))
        migrate.upgrade(tenant)
        load_forecast(tenant, WEEK, forecast_of(4))
        with user(bare, "dashboard", f"GRANT {roles.READER} TO") as reader:
            assert summary(reader)[0] == forecast_of(4).num_rows
