"""The roles of the schema `m5`: who owns its tables, who loads them, who reads them. None is a superuser.

| role | may |
| --- | --- |
| `m5_reader` | read the schema |
| `m5_writer` | load weeks: it owns the tables, because PostgreSQL lets only owners create and swap partitions |
| `m5_owner` | run the revisions: it owns the schema and the views, and is a member of `m5_writer` |
| `m5_dagster` | keep Dagster's runs and events, in a database of its own |

Roles belong to the server rather than a database, so they are not part of the revisions. `logins` gives them passwords
and rights, as statements for an administrator; `apply` gives them what a revision created, as the user who ran it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, text

from m5_assets.errors import UserError
from m5_assets.resources.postgres.schema import SCHEMA
from m5_assets.resources.postgres.scram import verifier

_log = logging.getLogger(__name__)

READER, WRITER, OWNER, DAGSTER = "m5_reader", "m5_writer", "m5_owner", "m5_dagster"

_PURPOSE = {
    READER: "Reads everything in schema m5: dashboards, QuickSight, analysts",
    WRITER: "Owns the tables of schema m5 and loads them: the forecasting platform",
    OWNER: "Owns schema m5 and its views, and runs the revisions; nothing else",
    DAGSTER: "Keeps the runs and events of Dagster in its own database; knows nothing of schema m5",
}
_GRANTS = (
    f"GRANT USAGE ON SCHEMA {SCHEMA} TO {READER}",
    f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {WRITER}",
    # A week's partition is a new table: without this, readers could not read the next load.
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {WRITER} IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO {READER}",
)
_READER_LIMITS = (
    "CONNECTION LIMIT 40",  # of a server's usual 100: readers cannot shut a load out
    "SET statement_timeout = '5min'",  # a query holds up the swap of a partition
    "SET idle_in_transaction_session_timeout = '1min'",
    "SET default_transaction_read_only = on",
)
# What PostgreSQL lets everyone do. Only a superuser can take it away.
_LARGE_OBJECTS = (
    "lo_creat(integer)",
    "lo_create(oid)",
    "lo_from_bytea(oid, bytea)",
    "lo_open(oid, integer)",
    "lo_put(oid, bigint, bytea)",
    "lo_unlink(oid)",
    "lowrite(integer, bytea)",
)
_REMEDY = (
    f"an administrator runs: CREATE ROLE {READER} NOLOGIN; CREATE ROLE {WRITER} NOLOGIN; GRANT {WRITER} TO %s; "
    f"the next load applies them"
)
_RELATIONS = (
    "SELECT c.relname, c.relkind::text FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema) "
    "AND c.relkind IN ('r', 'p', 'v') AND c.relowner <> to_regrole(:writer) "
    # The owner keeps the views and the revision, so that the writer cannot change them.
    "AND (current_user <> :owner OR c.relkind <> 'v' AND c.relname <> 'alembic_version')"
)


class NotAWriter(UserError):
    """The connecting user may not load, because another role owns the tables."""


def logins(passwords: Mapping[str, str]) -> Iterator[str]:
    """Yield the statements that turn a database's roles into login roles and hand the schema `m5` over to them.

    For an administrator (a superuser, or a user who may create roles) within the database; each can be repeated. A
    statement is one line, as PostgreSQL's single-user mode requires, and contains no password, only its verifier.

    Args:
        passwords: the password of each role that may log in from now on.
    """
    for role in (READER, WRITER, OWNER, *(role for role in passwords if role == DAGSTER)):
        yield f"DO $$ BEGIN IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role}; END IF; END $$"
        yield f"COMMENT ON ROLE {role} IS '{_PURPOSE[role]}'"
    for role, password in passwords.items():
        yield f"ALTER ROLE {role} LOGIN PASSWORD '{verifier(password)}'"
    for limit in _READER_LIMITS:
        yield f"ALTER ROLE {READER} {limit}"
    yield f"GRANT {WRITER} TO {OWNER}"
    # Who is no superuser has to be a member to act for a role, and to hand something over to it.
    yield (
        "DO $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) "  # noqa: S608  # our own names
        f"THEN REVOKE {WRITER}, {READER} FROM CURRENT_USER; "
        f"ELSE GRANT {OWNER}, {WRITER} TO CURRENT_USER; END IF; END $$"
    )
    yield from _database_rights()
    yield from _ownership()


def _database_rights() -> Iterator[str]:
    def run(statement: str) -> str:
        return f"EXECUTE format('{statement}', current_database());"

    rights = (
        "REVOKE ALL ON DATABASE %I FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE %I TO {READER}, {WRITER}, {OWNER}",
        f"GRANT TEMPORARY ON DATABASE %I TO {WRITER}",
        f"GRANT CREATE ON DATABASE %I TO {OWNER}",
    )
    yield f"DO $$ BEGIN {' '.join(run(statement) for statement in rights)} END $$"
    yield "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    functions = ", ".join(f"pg_catalog.{function}" for function in _LARGE_OBJECTS)
    yield (
        "DO $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) "  # noqa: S608  # our own names
        f"THEN REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC; END IF; END $$"
    )


def _ownership() -> Iterator[str]:
    yield f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {OWNER}"
    yield f"ALTER SCHEMA {SCHEMA} OWNER TO {OWNER}"
    # Before the tables: their new owner has to be allowed to create some.
    yield from _GRANTS
    yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO {READER}, {WRITER}"
    owners = f"CASE WHEN relkind = 'v' OR relname = 'alembic_version' THEN '{OWNER}' ELSE '{WRITER}' END"
    yield (
        "DO $$ DECLARE found record; BEGIN FOR found IN SELECT oid::regclass AS name, "  # noqa: S608  # our own names
        f"CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, {owners} AS owner FROM pg_class "
        f"WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'p', 'v') "
        f"AND pg_get_userbyid(relowner) <> {owners} "
        "LOOP EXECUTE format('ALTER %s %s OWNER TO %I', found.kind, found.name, found.owner); END LOOP; END $$"
    )
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {READER}, {WRITER}"


def apply(connection: Connection) -> None:
    """Create missing roles and give them the schema's tables; log a warning if the user may not."""
    user, creates = connection.execute(
        text("SELECT current_user::text, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    ).one()
    for role in (READER, WRITER):
        if connection.execute(text("SELECT to_regrole(:role) IS NULL"), {"role": role}).scalar_one():
            if not creates:
                _log.warning("roles: %s may not create %s, so it is missing; " + _REMEDY, user, role, user)
                return
            connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
            connection.execute(text(f"COMMENT ON ROLE {role} IS '{_PURPOSE[role]}'"))
            connection.execute(text(f"GRANT {role} TO CURRENT_USER"))
    names = {"schema": SCHEMA, "writer": WRITER}
    foreign = connection.execute(text(_RELATIONS), names | {"owner": OWNER}).all()
    if not foreign:
        return
    if not connection.execute(text("SELECT pg_has_role(:writer, 'MEMBER')"), names).scalar_one():
        _log.warning("roles: %s is not a member of %s and keeps the tables; " + _REMEDY, user, WRITER, user)
        return
    for grant in _GRANTS:
        connection.execute(text(grant))
    for name, kind in foreign:
        what = "VIEW" if kind == "v" else "TABLE"
        connection.execute(text(f'ALTER {what} {SCHEMA}."{name}" OWNER TO {WRITER}'))
    connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {READER}, {WRITER}"))


def act_as_owner(connection: Connection) -> None:
    """Act as the role that owns the tables for the rest of the transaction, so it also owns what a load creates.

    Raises:
        NotAWriter: if the connecting user is not a member of that role.
    """
    query = "SELECT pg_get_userbyid(relowner), pg_has_role(relowner, 'MEMBER'), current_user::text FROM pg_class "
    owner, member, user = connection.execute(text(f"{query} WHERE oid = '{SCHEMA}.load_log'::regclass")).one()
    if not member:
        raise NotAWriter(
            f"{user} may not load: {owner} owns the tables of schema {SCHEMA}; an administrator runs "
            f"GRANT {owner} TO {user}"
        )
    if owner != user:
        connection.execute(text(f'SET LOCAL ROLE "{owner}"'))
