"""Each role by its own login, on the embedded server and on an external one: what it can do, and what it cannot."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from m5_assets.errors import UserError
from m5_assets.resources.postgres import PostgresResource, load, migrate
from m5_assets.resources.postgres.administration import NoAdministrator, administer
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.roles import DAGSTER, OWNER, READER, WRITER
from m5_assets.resources.postgres.scram import verifier
from m5_assets.resources.postgres.server_binaries import find_launcher
from m5_assets_tests.resources.conftest import new_home, superuser_of
from m5_assets_tests.resources.test_postgres_load import WEEK, ask, forecast_of, load_forecast, summary

NOBODY = {
    "run a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "read a file": "SELECT pg_read_file('/etc/passwd')",
    "list a folder": "SELECT pg_ls_dir('/')",
    "copy from a file": "CREATE TEMP TABLE t (a text); COPY t FROM '/etc/passwd'",
    "copy to a file": "COPY (SELECT 1) TO '/tmp/written-by-postgres'",
    "import a file as a large object": "SELECT lo_import('/etc/passwd')",
    "create a large object": "SELECT lo_create(0)",
    "fill a large object": "SELECT lo_from_bytea(0, 'x')",
    "become the superuser": "SET ROLE {superuser}",
    "become the superuser for the session": "SET SESSION AUTHORIZATION {superuser}",
    "become Dagster": f"SET ROLE {DAGSTER}",
    "create a role": "CREATE ROLE another",
    "make itself a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "join another role": f"GRANT {OWNER} TO {READER}",
    "load a library": "LOAD '/tmp/evil.so'",
    "write a function in C": "CREATE FUNCTION evil() RETURNS int AS '/tmp/evil.so' LANGUAGE c",
    "install an extension that reads files": "CREATE EXTENSION file_fdw",
    "create a database": "CREATE DATABASE another",
    "change the server": "ALTER SYSTEM SET max_connections = 1",
    "read the passwords": "SELECT rolpassword FROM pg_authid",
    "create in schema public": "CREATE TABLE public.t (a int)",
}
NOT_A_LOADER = {
    "alter the revision": "UPDATE m5.alembic_version SET version_num = '0'",
    "replace a view": "CREATE OR REPLACE VIEW m5.series_hierarchy AS SELECT 1 AS a",
    "drop a view": "DROP VIEW m5.bi_forecast",
    "drop the schema": "DROP SCHEMA m5 CASCADE",
    "create a schema": "CREATE SCHEMA another",
    "become the owner": f"SET ROLE {OWNER}",
    "become the owner for the session": f"SET SESSION AUTHORIZATION {OWNER}",
}
NOT_A_READER = {
    "delete": "DELETE FROM m5.load_log",
    "insert": "INSERT INTO m5.store VALUES ('CA_9', 'CA')",
    "truncate": "TRUNCATE m5.accuracy",
    "create a table": "CREATE TABLE m5.mine (a int)",
    "create a temporary table": "CREATE TEMP TABLE mine (a int)",
    "create a function": "CREATE FUNCTION m5.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "drop a table": "DROP TABLE m5.load_log",
    "drop a partition": "DROP TABLE m5.forecast_2016_04_18",
    "lock the tables": "DO $$ BEGIN LOCK TABLE m5.series IN ACCESS EXCLUSIVE MODE; END $$",
    "become the writer": f"SET ROLE {WRITER}",
    "become the writer for the session": f"SET SESSION AUTHORIZATION {WRITER}",
}
FORBIDDEN = {
    READER: NOBODY | NOT_A_LOADER | NOT_A_READER,
    WRITER: NOBODY | NOT_A_LOADER,
    OWNER: NOBODY,
}


class Place:
    """A server with a week in it, and how each role reaches it."""

    def __init__(self, postgres: PostgresResource, superuser: str) -> None:
        self.postgres, self.superuser = postgres, superuser

    def engine(self, role: str) -> Engine:
        return self.postgres.engine(role)


@pytest.fixture(scope="module")
def embedded() -> Iterator[Place]:
    with new_home() as home:
        postgres = PostgresResource(home=str(home))
        migrate.ensure_newest(postgres)
        load_forecast(postgres.engine(WRITER), WEEK, forecast_of(3))
        yield Place(postgres, "m5")
        for role in (READER, WRITER, OWNER):
            postgres.engine(role).dispose()


@pytest.fixture(scope="module")
def administrator() -> Iterator[Engine]:
    """Yield the engine of a superuser on a server that knows nothing of the platform, as Compose's is at first."""
    with new_home() as home:
        root = superuser_of(home)
        with root.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for statement in (
                f"DROP SCHEMA m5; DROP OWNED BY {OWNER}, {WRITER}, {READER}; DROP ROLE {OWNER}, {WRITER}, {READER}",
                "GRANT CONNECT, TEMPORARY ON DATABASE m5 TO PUBLIC",
            ):
                connection.execute(text(statement))
        yield root
        root.dispose()


PASSWORDS = {READER: "reads", WRITER: "writes", DAGSTER: "runs"}


@pytest.fixture(scope="module")
def external(administrator: Engine) -> Iterator[Place]:
    """Yield an external database that one superuser used for everything, after `m5 migrate`."""
    url = administrator.url
    alone = PostgresResource(url=url.render_as_string(hide_password=False), home="/nowhere")
    migrate.ensure_newest(alone)
    load_forecast(alone.engine(WRITER), WEEK, forecast_of(2))
    with administrator.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("CREATE DATABASE dagster"))
    runs = create_engine(url.set(database="dagster"))
    with runs.begin() as connection:
        connection.execute(text("CREATE TABLE runs (id bigserial PRIMARY KEY, run_id text)"))
        connection.execute(text("INSERT INTO runs (run_id) VALUES ('old')"))
    runs.dispose()

    administer(url, PASSWORDS)
    administer(url, PASSWORDS)  # as at every later upgrade
    own = PostgresResource(
        url=url.set(username=None, password=None).render_as_string(),
        reader_password=PASSWORDS[READER],
        writer_password=PASSWORDS[WRITER],
        home="/nowhere",
    )
    migrate.ensure_newest(own)
    assert summary(own.engine(READER)) == (forecast_of(2).num_rows, 1.0, 1.0)  # what the superuser loaded
    load_forecast(own.engine(WRITER), WEEK, forecast_of(3))
    yield Place(own, "root")
    for role in (READER, WRITER):
        own.engine(role).dispose()


def assert_refused(engine: Engine, what: str, statement: str) -> None:
    # Not in a transaction, in which some statements fail for another reason.
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))  # anyone may: it is no protection
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text(statement))
    # insufficient privilege, or an extension or library that does not exist here
    assert getattr(caught.value.orig, "pgcode", "") in ("42501", "0A000", "58P01"), f"{what}: {caught.value.orig}"


@pytest.mark.parametrize("place", ["embedded", "external"])
@pytest.mark.parametrize("role", [READER, WRITER, OWNER])
def test_what_a_role_cannot_do(place: str, role: str, request: pytest.FixtureRequest) -> None:
    found: Place = request.getfixturevalue(place)
    if (place, role) == ("external", OWNER):
        with pytest.raises(UserError, match="m5 migrate"):
            found.engine(role)
        return
    engine = found.engine(role)
    flags = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    assert ask(engine, f"SELECT {flags} FROM pg_roles WHERE rolname = session_user") == [(False,) * 5]  # noqa: S608
    for what, statement in FORBIDDEN[role].items():
        if (place, what) == ("embedded", "become Dagster"):  # whose runs are in SQLite there
            continue
        assert_refused(engine, what, statement.format(superuser=found.superuser))


@pytest.mark.parametrize("place", ["embedded", "external"])
@pytest.mark.parametrize("way", ["RESET ROLE", "RESET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION DEFAULT"])
def test_a_reader_stays_a_reader(place: str, way: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(place).engine(READER)
    with engine.connect() as connection:
        connection.execute(text(f"SET LOCAL ROLE {READER}"))
        connection.execute(text(way))
        assert connection.execute(text("SELECT current_user, session_user")).one() == (READER, READER)
        with pytest.raises(DBAPIError, match="permission denied to COPY to or from an external program"):
            connection.execute(text("COPY (SELECT 1) TO PROGRAM 'true'"))


@pytest.mark.parametrize("place", ["embedded", "external"])
def test_a_reader_reads_all_that_is_loaded_and_is_stopped(place: str, request: pytest.FixtureRequest) -> None:
    found: Place = request.getfixturevalue(place)
    engine = found.engine(READER)
    load_forecast(found.engine(WRITER), WEEK, forecast_of(3))
    for relation in ("m5.forecast", "m5.forecast_2016_04_18", "m5.bi_forecast", "m5.load_log", "m5.alembic_version"):
        assert ask(engine, f"SELECT count(*) > 0 FROM {relation}") == [(True,)]  # noqa: S608  # our own names
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"GRANT ALL ON SCHEMA m5 TO {READER}; GRANT INSERT ON m5.store TO {READER}"))
        rights = "SELECT has_schema_privilege('m5', 'CREATE'), has_table_privilege('m5.store', 'INSERT')"
        assert connection.execute(text(rights)).one() == (False, False)  # PostgreSQL ignores such grants
    limits = "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')"
    assert ask(engine, limits) == [("5min", "1min")]
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 50"))
        with pytest.raises(DBAPIError, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(5)"))


def test_the_tables_are_the_writers_and_the_rest_is_the_owners(embedded: Place, external: Place) -> None:
    query = (
        "SELECT DISTINCT pg_get_userbyid(relowner)::text, relkind = 'v' OR relname = 'alembic_version' FROM pg_class "
        "WHERE relnamespace = 'm5'::regnamespace AND relkind IN ('r', 'p', 'v')"
    )
    for place in (embedded, external):
        assert set(ask(place.engine(READER), query)) == {(WRITER, False), (OWNER, True)}


def test_the_embedded_server_lets_in_nobody_else(embedded: Place) -> None:
    """The superuser has no password and no way in; other databases are closed."""
    url = embedded.engine(OWNER).url
    for user, database in (("m5", "m5"), ("m5", "postgres"), (OWNER, "postgres"), (READER, "template1")):
        with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf"):
            psycopg2.connect(host="127.0.0.1", port=url.port, user=user, password=url.password, dbname=database)
    hidden = {embedded.postgres.engine(role).url.password for role in (READER, WRITER, OWNER)}
    assert len(hidden) == 3
    folder = Path(embedded.postgres.home) / "postgres"
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "passwords" and "base" not in path.parts:
            content = path.read_bytes()
            assert not [password for password in hidden if str(password).encode() in content], path


def test_dagster_has_its_own_database_and_nothing_of_the_forecasts(external: Place, administrator: Engine) -> None:
    own: URL = administrator.url.set(username=DAGSTER, password=PASSWORDS[DAGSTER], database="dagster")
    runs = create_engine(own)
    with runs.begin() as connection:  # what the superuser wrote is Dagster's now
        connection.execute(text("INSERT INTO runs (run_id) VALUES ('new')"))
        connection.execute(text("ALTER TABLE runs ADD COLUMN later text"))
        connection.execute(text("CREATE TABLE events (id bigserial PRIMARY KEY)"))
        assert connection.execute(text("SELECT id, run_id FROM runs ORDER BY 1")).all() == [(1, "old"), (2, "new")]
    for what, statement in NOBODY.items():
        if what not in ("create in schema public", "become Dagster") and "a large object" not in what:
            assert_refused(runs, what, statement.format(superuser="root"))
    runs.dispose()
    for user, password, database in (
        (DAGSTER, PASSWORDS[DAGSTER], "m5"),
        (READER, PASSWORDS[READER], "dagster"),
        (WRITER, PASSWORDS[WRITER], "dagster"),
    ):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(host="127.0.0.1", port=own.port, user=user, password=password, dbname=database)


def test_another_password_replaces_the_first(external: Place, administrator: Engine) -> None:
    def log_in() -> None:
        own = administrator.url.set(username=DAGSTER, password=PASSWORDS[DAGSTER], database="dagster")
        psycopg2.connect(own.set(drivername="postgresql").render_as_string(hide_password=False)).close()

    administer(administrator.url, {DAGSTER: "changed"})
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        log_in()
    administer(administrator.url, {DAGSTER: PASSWORDS[DAGSTER]})
    log_in()


def test_only_an_administrator_prepares_a_database(external: Place) -> None:
    with pytest.raises(NoAdministrator, match="m5_writer may not create roles"):
        administer(external.engine(WRITER).url, {})


def test_an_old_schema_names_the_command_to_run(external: Place, administrator: Engine) -> None:
    with administrator.begin() as connection:
        connection.execute(text("UPDATE m5.alembic_version SET version_num = '0001'"))
    try:
        with pytest.raises(UserError, match="m5 migrate"):
            migrate.ensure_newest(external.postgres)
    finally:
        with administrator.begin() as connection:
            connection.execute(text("UPDATE m5.alembic_version SET version_num = '0002'"))


def test_a_master_user_who_is_no_superuser_prepares_a_database(administrator: Engine) -> None:
    """As on RDS: it may create roles and databases, and owns the database."""
    with administrator.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD 'x'"))
        for role in (READER, WRITER, OWNER, DAGSTER):  # as if master had created them
            if connection.execute(text("SELECT to_regrole(:role) IS NULL"), {"role": role}).scalar_one():
                connection.execute(text(f"CREATE ROLE {role}"))
            connection.execute(text(f"GRANT {role} TO master WITH ADMIN OPTION"))
        connection.execute(text("CREATE DATABASE rds OWNER master"))
        if connection.execute(text("SELECT count(*) FROM pg_database WHERE datname = 'dagster'")).scalar_one() == 0:
            connection.execute(text(f"CREATE DATABASE dagster OWNER {DAGSTER}"))
    master = administrator.url.set(username="master", password="x", database="rds")
    administer(master, PASSWORDS)
    own = PostgresResource(
        url=master.set(username=None, password=None).render_as_string(),
        reader_password=PASSWORDS[READER],
        writer_password=PASSWORDS[WRITER],
        home="/nowhere",
    )
    migrate.ensure_newest(own)
    result = load_forecast(own.engine(WRITER), WEEK, forecast_of(4))
    assert load.read_forecast(own.engine(READER), WEEK).num_rows == result.rows
    for role in (READER, WRITER):
        own.engine(role).dispose()


def test_passwords_that_would_need_normalising_are_refused() -> None:
    for wrong in ("", "pässword", "tab\there"):
        with pytest.raises(UserError, match="printable ASCII"):
            verifier(wrong)


def old_home(home: Path) -> None:
    """Create and start the embedded server as versions before the login roles did."""
    folder = home / "postgres"
    folder.mkdir(mode=0o700)
    launcher, data = find_launcher(), folder / "data"
    (folder / "password").write_text("superuser's")
    (folder / "password").chmod(0o600)
    launcher.run(
        "initdb",
        *(f"--pgdata={data}", "--username=m5", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256"),
        *("--encoding=UTF8", "--no-locale", "--no-sync"),
    )
    launcher.run("postgres", "--single", "-F", "-D", str(data), "postgres", text="CREATE DATABASE m5;\n")
    (folder / "port").write_text(EmbeddedServer(home)._port())
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c port={(folder / 'port').read_text()}"
    launcher.run("pg_ctl", "start", f"--pgdata={data}", f"--log={home / 'log'}", f"--options={options}", "--wait")


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped and without roles"])
def test_a_home_of_an_earlier_version_gets_its_roles_and_keeps_its_data(
    running: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with new_home() as home:
        old_home(home)
        port = int((home / "postgres" / "port").read_text())
        superuser = create_engine(URL.create("postgresql+psycopg2", "m5", "superuser's", "127.0.0.1", port, "m5"))
        migrate.upgrade(superuser)
        load_forecast(superuser, WEEK, forecast_of(3, 2.0))
        before = ask(superuser, "SELECT * FROM m5.load_log")
        if not running:
            with superuser.begin() as connection:  # as of the first versions, which had no roles at all
                for role in (WRITER, READER):
                    connection.execute(text(f"REASSIGN OWNED BY {role} TO m5"))
                    connection.execute(text(f"DROP OWNED BY {role}"))
                    connection.execute(text(f"DROP ROLE {role}"))
        superuser.dispose()
        if not running:
            EmbeddedServer(home).stop()

        postgres = PostgresResource(home=str(home))
        with caplog.at_level(logging.INFO):
            migrate.ensure_newest(postgres)
        assert "login roles" in caplog.text
        assert summary(postgres.engine(READER)) == (forecast_of(3).num_rows, 2.0, 2.0)
        assert ask(postgres.engine(READER), "SELECT * FROM m5.load_log") == before
        load_forecast(postgres.engine(WRITER), WEEK, forecast_of(4, 3.0))
        assert summary(postgres.engine(READER)) == (forecast_of(4).num_rows, 3.0, 3.0)
        assert not (home / "postgres" / "password").exists()
        with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf"):
            psycopg2.connect(host="127.0.0.1", port=port, user="m5", password="superuser's", dbname="m5")
        assert_refused(postgres.engine(WRITER), "drop a view", "DROP VIEW m5.bi_forecast")
        for role in (READER, WRITER, OWNER):
            postgres.engine(role).dispose()


def test_the_callers_environment_does_not_change_a_connection(embedded: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {
        "PGCLIENTENCODING": "LATIN1",
        "PGOPTIONS": "-c search_path=nowhere -c statement_timeout=1",
        "PGHOST": "nowhere.example",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGDATABASE": "nowhere",
        "PGUSER": "nobody",
        "PGPASSWORD": "wrong",
        "PGSSLMODE": "verify-full",
        "PGCHANNELBINDING": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGTZ": "Asia/Tokyo",
        "PGDATESTYLE": "German",
    }
    for name, value in odd.items():
        monkeypatch.setenv(name, value)
    engine = embedded.engine(WRITER)
    engine.dispose()  # new connections
    names = ("client_encoding", "TimeZone", "DateStyle", "search_path", "statement_timeout")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    assert ask(engine, query) == [("UTF8", "UTC", "ISO, YMD", '"$user", public', "0")]
    table = forecast_of(2)
    named = table.set_column(
        table.column_names.index("item_id"), "item_id", [[f"Žluťoučký_{i}" for i in table["item_id"].to_pylist()]]
    )
    load_forecast(engine, WEEK, named)
    assert load.read_forecast(engine, WEEK)["item_id"].equals(named["item_id"])
    engine.dispose()
