"""Upgrade a database to the newest revision of the schema `m5`; the revisions are in `migrations`."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.schema import CreateSchema

from m5_assets.errors import UserError
from m5_assets.resources.postgres import PostgresResource, roles
from m5_assets.resources.postgres.schema import SCHEMA

_log = logging.getLogger(__name__)

_FIRST_VERSION = "0001"


class UnknownRevision(UserError):
    """The database was created by a newer version of the platform."""


def ensure_newest(postgres: PostgresResource) -> None:
    """Upgrade the schema unless it is at the newest revision; only then is the owner's login used.

    Raises:
        UnknownRevision: if this version does not know the database's revision.
        UserError: if the schema is old and its owner's login is not among the settings of this process.
    """
    if not postgres.shares_a_login:
        with postgres.engine(roles.WRITER).connect() as connection:
            found, newest = revisions(connection)
        if found == newest:
            return
    upgrade(postgres.engine(roles.OWNER))


def upgrade(engine: Engine, role: str | None = None) -> None:
    """Create the schema or upgrade it to the newest revision, in one transaction; safe to run concurrently.

    A database filled by the platform's first version, before there were revisions, keeps all its rows.

    Args:
        engine: engine of the user who upgrades.
        role: act as this role instead, of which the user is a member.

    Raises:
        UnknownRevision: if this version does not know the database's revision.
        sqlalchemy.exc.ProgrammingError: if the user may not change the schema; nothing was changed.
    """
    with engine.begin() as connection:
        if role is not None:
            connection.execute(text(f"SET LOCAL ROLE {role}"))
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"{SCHEMA} schema"))))
        found, newest = revisions(connection)
        if found != newest:
            _run(connection, _script(), found)
            _log.info("schema %s: upgraded from %s to revision %s", SCHEMA, found or "no revision", newest)
        roles.apply(connection)


def revisions(connection: Connection) -> tuple[str | None, str | None]:
    """Return the database's revision (None if it has none) and the newest one that this version knows."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision(), _script().get_current_head()


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).with_name("migrations")))


def _run(connection: Connection, script: ScriptDirectory, found: str | None) -> None:
    if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
        raise UnknownRevision(
            f"the database's schema {SCHEMA} has revision {found}, which this version of the platform does not know: "
            "use the version that created it, or a newer one"
        )
    config = Config()
    config.set_main_option("script_location", script.dir)
    config.attributes["connection"] = connection
    existing = inspect(connection)
    if not existing.has_schema(SCHEMA):
        connection.execute(CreateSchema(SCHEMA))
    elif found is None and existing.has_table("series", SCHEMA):
        command.stamp(config, _FIRST_VERSION)
    command.upgrade(config, "head")
