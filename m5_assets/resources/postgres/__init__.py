"""PostgreSQL, which the dashboards read: RDS on AWS, otherwise an embedded server. This module has the resource.

`schema` has the tables, `load` writes a week, and `embedded_server` runs the server.
"""

from __future__ import annotations

import functools
from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from m5_assets.resources.postgres.embedded_server import EmbeddedServer

_DRIVER = "postgresql+psycopg2"


class PostgresResource(ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The platform's PostgreSQL database."""

    url: str = Field(
        default="",
        repr=False,  # contains the password
        description="postgresql://user:password@host:port/database; empty for the embedded server of the home folder",
    )
    home: str = Field(description="the platform's home folder; the embedded server keeps its data in postgres/ there")

    def engine(self) -> Engine:
        """Return an engine for the database, and start the embedded server if necessary.

        Callers with the same address share one engine. Its repr and its URL's repr hide the password.
        """
        return _engine(normalised(self.url) if self.url else EmbeddedServer(Path(self.home)).ensure_running())


def normalised(url: str) -> URL:
    """Return a database URL with the driver psycopg2, also for `postgres://` and `postgresql://`.

    SQLAlchemy 2.1 takes `postgresql://` for psycopg 3 and rejects the `postgres://` that hosting providers use.

    Raises:
        ValueError: if the URL is not one of PostgreSQL. The message omits the URL, which may contain a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("the database URL is invalid; expected postgresql://user:password@host/database") from None
    if parsed.drivername not in ("postgres", "postgresql", _DRIVER):
        raise ValueError(f"the database URL starts with {parsed.drivername}://; expected postgresql://")
    return parsed.set(drivername=_DRIVER)


@functools.lru_cache(maxsize=8)
def _engine(url: URL) -> Engine:
    return create_engine(url, pool_pre_ping=True)  # the server may restart between two assets
