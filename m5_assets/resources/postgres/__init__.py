"""PostgreSQL, where the dashboards read: RDS on AWS, an embedded real server without one.

Here: the Dagster resource. `schema` says what is stored, `load` how a week gets in, `server` and `launcher` run the
embedded server.
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


class PostgresResource(ConfigurableResource):  # type: ignore[type-arg]  # the type argument is for resources of another type
    """The PostgreSQL database of the platform."""

    url: str = Field(
        default="",
        repr=False,  # it holds the password
        description="postgresql://user:password@host:port/database; empty: the embedded server of the home folder",
    )
    home: str = Field(description="the platform's home folder; the embedded server lives in its folder postgres")

    def engine(self) -> Engine:
        """Return an engine for the database; the embedded server is started if it does not run.

        Engines are shared by all callers of the same address. Neither this engine's nor its URL's repr shows the
        password.
        """
        return _engine(normalised(self.url) if self.url else EmbeddedServer(Path(self.home)).ensure_running())


def normalised(url: str) -> URL:
    """Return the address with the one driver we use: `postgres://` and `postgresql://` mean psycopg2.

    SQLAlchemy 2.1 reads `postgresql://` as psycopg 3, and does not know the `postgres://` that hosts hand out.

    Raises:
        ValueError: not an address of a PostgreSQL database. The message does not repeat it: it may hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("the database URL cannot be read; expected postgresql://user:password@host/database") from None
    if parsed.drivername not in ("postgres", "postgresql", _DRIVER):
        raise ValueError(f"the database URL begins with {parsed.drivername}://, expected postgresql://")
    return parsed.set(drivername=_DRIVER)


@functools.lru_cache(maxsize=8)
def _engine(url: URL) -> Engine:
    return create_engine(url, pool_pre_ping=True)  # the server may have been restarted between two assets
