"""Connections that depend on nothing but their URL: the caller's PG* variables do not change how they behave.

libpq reads from its environment whatever a connection does not specify. Left to it are only passwords and TLS
(PGPASSWORD, PGPASSFILE, PGSSLMODE, PGSSLROOTCERT, ...), where an external database's URL does not specify them.
"""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from m5_assets.errors import UserError

_DRIVER = "postgresql+psycopg2"

_OURS = {"client_encoding": "utf8"}
_UNLESS_IN_THE_URL = {
    "host": "",
    "hostaddr": "",
    "port": "5432",
    "options": "",
    "target_session_attrs": "any",
    "application_name": "m5",
}
# The embedded server has no TLS and listens on loopback. A server of someone else on its port gets no password.
_LOOPBACK = {
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "disable",
    "require_auth": "scram-sha-256",
}


def normalised(url: str) -> URL:
    """Return a database URL with the driver psycopg2, also for `postgres://` and `postgresql://`.

    SQLAlchemy 2.1 takes `postgresql://` for psycopg 3 and rejects the `postgres://` that hosting providers use.

    Raises:
        UserError: if the URL is not one of PostgreSQL. The message omits the URL, which may contain a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UserError("the database URL is invalid; expected postgresql://user:password@host/database") from None
    if parsed.drivername not in ("postgres", "postgresql", _DRIVER):
        raise UserError(f"the database URL starts with {parsed.drivername}://; expected postgresql://")
    return parsed.set(drivername=_DRIVER)


@functools.lru_cache(maxsize=16)
def engine_of(url: URL, *, embedded: bool = False) -> Engine:
    """Return the engine of a URL; callers with the same URL share one.

    Args:
        url: a URL as `normalised` returns it.
        embedded: whether it is the embedded server's.
    """
    given = {name for name, value in url.translate_connect_args(database="dbname").items() if value} | {*url.query}
    settings = {name: value for name, value in _UNLESS_IN_THE_URL.items() if name not in given} | _OURS
    # The server may restart between two assets.
    engine = create_engine(url, pool_pre_ping=True, connect_args=settings | (_LOOPBACK if embedded else {}))
    event.listen(engine, "connect", _forget_zone_and_dates)
    return engine


def _forget_zone_and_dates(connection: Any, _: object) -> None:
    """Set what libpq takes from PGTZ and PGDATESTYLE, for which it has no connection parameter."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'")
    connection.autocommit = False
