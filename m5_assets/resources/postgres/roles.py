"""The roles of the schema `m5`: `m5_writer` owns and loads the tables, `m5_reader` reads them.

Neither role can log in; an administrator grants them to users (`GRANT m5_reader TO dashboard`). Roles belong to the
server rather than a database, so they are not part of the revisions: each upgrade applies them, or the first one after
an administrator has created them.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text

from m5_assets.errors import UserError
from m5_assets.resources.postgres.schema import SCHEMA

_log = logging.getLogger(__name__)

READER, WRITER = "m5_reader", "m5_writer"

_PURPOSE = {
    READER: "Reads everything in schema m5: dashboards, QuickSight, analysts",
    WRITER: "Owns the tables of schema m5 and loads them: the forecasting platform",
}
_GRANTS = (
    f"GRANT USAGE ON SCHEMA {SCHEMA} TO {READER}",
    f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {WRITER}",
    # A week's partition is a new table: without this, readers could not read the next load.
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {WRITER} IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO {READER}",
)
_REMEDY = (
    f"an administrator runs: CREATE ROLE {READER} NOLOGIN; CREATE ROLE {WRITER} NOLOGIN; GRANT {WRITER} TO %s; "
    f"the next load applies them"
)
_RELATIONS = (
    "SELECT c.relname, c.relkind::text FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema) "
    "AND c.relkind IN ('r', 'p', 'v') AND c.relowner <> to_regrole(:writer)"
)


class NotAWriter(UserError):
    """The connecting user may not load, because another role owns the tables."""


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
            if role == WRITER:
                connection.execute(text(f"GRANT {role} TO CURRENT_USER"))
    names = {"schema": SCHEMA, "writer": WRITER}
    foreign = connection.execute(text(_RELATIONS), names).all()
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
    connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {READER}"))


def act_as_owner(connection: Connection) -> None:
    """Switch to the role that owns the tables for the rest of the transaction, so it also owns what a load creates.

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
    connection.execute(text(f'SET LOCAL ROLE "{owner}"'))
