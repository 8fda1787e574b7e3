"""Prepare an external database as its administrator: login roles, the schema's newest revision, Dagster's database.

The embedded server does the same by itself when it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from sqlalchemy import URL, Engine, text

from m5_assets.errors import UserError
from m5_assets.resources.postgres import migrate
from m5_assets.resources.postgres.connections import engine_of
from m5_assets.resources.postgres.roles import DAGSTER, OWNER, logins

_log = logging.getLogger(__name__)

DAGSTER_DATABASE = "dagster"


class NoAdministrator(UserError):
    """The user may not create roles."""


def administer(url: URL, passwords: Mapping[str, str]) -> None:
    """Bring a database to the newest revision, with login roles; safe to repeat, also with other passwords.

    Args:
        url: the database, as a superuser or a user who may create roles and databases.
        passwords: the password of each role that shall log in.

    Raises:
        NoAdministrator: if the user may not create roles.
        sqlalchemy.exc.DBAPIError: if the server refuses a statement.
    """
    engine = engine_of(url)
    with engine.connect() as connection:
        query = "SELECT current_user::text, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        user, creates = connection.execute(text(query)).one()
    if not creates:
        raise NoAdministrator(f"{user} may not create roles: run this as the database's administrator")
    _run(engine, logins(passwords))
    migrate.upgrade(engine, role=OWNER)
    _log.info("schema m5 is at the newest revision; %s can log in", ", ".join(sorted(passwords)) or "no role")
    if DAGSTER in passwords:
        _prepare_dagster(engine)


def _prepare_dagster(engine: Engine) -> None:
    """Give Dagster's role a database of its own, and what an earlier version's user left in it."""
    alone = engine.execution_options(isolation_level="AUTOCOMMIT")  # databases are not created in a transaction
    with alone.connect() as connection:
        is_superuser = "(SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
        if not connection.execute(text(f"SELECT {is_superuser}")).scalar_one():
            connection.execute(text(f"GRANT {DAGSTER} TO CURRENT_USER"))
        query = text("SELECT count(*) FROM pg_database WHERE datname = :name")
        verb = "ALTER" if connection.execute(query, {"name": DAGSTER_DATABASE}).scalar_one() else "CREATE"
        connection.execute(text(f"{verb} DATABASE {DAGSTER_DATABASE} OWNER {'TO ' * (verb == 'ALTER')}{DAGSTER}"))
    _run(engine_of(engine.url.set(database=DAGSTER_DATABASE)), _dagster_rights())
    _log.info("database %s belongs to %s", DAGSTER_DATABASE, DAGSTER)


def _dagster_rights() -> Iterable[str]:
    yield f"REVOKE ALL ON DATABASE {DAGSTER_DATABASE} FROM PUBLIC"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    yield f"GRANT USAGE, CREATE ON SCHEMA public TO {DAGSTER}"
    # Sequences follow their tables.
    yield (
        "DO $$ DECLARE found regclass; BEGIN FOR found IN SELECT oid FROM pg_class "  # noqa: S608  # our own names
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') "
        f"AND relowner <> to_regrole('{DAGSTER}') "
        f"LOOP EXECUTE format('ALTER TABLE %s OWNER TO {DAGSTER}', found); END LOOP; END $$"
    )


def _run(engine: Engine, statements: Iterable[str]) -> None:
    """Run statements in one transaction, without looking for parameters in them."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        connection.commit()
    finally:
        connection.close()
