"""PostgreSQL, which the dashboards read: RDS on AWS, otherwise an embedded server. This module has the resource.

`schema` has the tables, `roles` who may do what, `load` writes a week, and `embedded_server` runs the server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from dagster import ConfigurableResource, EnvVar
from pydantic import Field
from sqlalchemy import URL, Engine

from m5_assets.errors import UserError
from m5_assets.resources.postgres.connections import engine_of, normalised
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.roles import OWNER, READER, WRITER
from m5_assets.settings import Settings


class PostgresResource(ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The platform's PostgreSQL database."""

    url: str = Field(
        default="",
        repr=False,  # may contain a password
        description="postgresql://user:password@host:port/database; empty for the embedded server of the home folder",
    )
    reader_password: str = Field(default="", repr=False, description="password of m5_reader, if it logs in itself")
    writer_password: str = Field(default="", repr=False, description="password of m5_writer, if it logs in itself")
    home: str = Field(description="the platform's home folder; the embedded server keeps its data in postgres/ there")

    @classmethod
    def of(cls, source: Settings) -> Self:
        """Return the resource for these settings."""
        return cls(
            url=source.database_url.get_secret_value(),
            reader_password=source.database_reader_password.get_secret_value(),
            writer_password=source.database_writer_password.get_secret_value(),
            home=str(source.home),
        )

    @classmethod
    def from_environment(cls, source: Settings) -> Self:
        """Return the resource as `of` does, with the secrets by reference: Dagster's UI shows its configuration."""
        secrets = {
            "url": (source.database_url, "M5_DATABASE_URL"),
            "reader_password": (source.database_reader_password, "M5_DATABASE_READER_PASSWORD"),
            "writer_password": (source.database_writer_password, "M5_DATABASE_WRITER_PASSWORD"),
        }
        given = {field: EnvVar(name) for field, (secret, name) in secrets.items() if secret.get_secret_value()}
        return cls(home=str(source.home), **given)

    @property
    def shares_a_login(self) -> bool:
        """Whether the URL's own user does everything, as no role of an external database has a password here."""
        return bool(self.url) and not self.reader_password and not self.writer_password

    def engine(self, role: str = READER) -> Engine:
        """Return an engine that logs in as a role, and start the embedded server if necessary.

        Callers with the same role and address share one engine. Its repr and its URL's repr hide the password.

        Args:
            role: m5_reader to read, m5_writer to load, m5_owner for revisions.

        Raises:
            UserError: if the role's password is not among the settings of this process.
        """
        if not self.url:
            return engine_of(EmbeddedServer(Path(self.home)).ensure_running(role), embedded=True)
        return engine_of(self._external(role))

    def _external(self, role: str) -> URL:
        url = normalised(self.url)
        if self.shares_a_login:
            return url
        password = {READER: self.reader_password, WRITER: self.writer_password}.get(role)
        if password:
            return url.set(username=role, password=password)
        if role == OWNER:
            raise UserError(
                "the schema m5 of an external database is upgraded by its administrator: run `m5 migrate`, see "
                "docs/database.md"
            )
        name = f"M5_DATABASE_{role.removeprefix('m5_').upper()}_PASSWORD"
        raise UserError(f"this process has no password of {role}: set {name}")
