"""`m5 migrate`: the roles and the schema of an external database."""

from __future__ import annotations

import click
from sqlalchemy.exc import DBAPIError

from m5_assets.errors import UserError
from m5_assets.resources.postgres.administration import administer
from m5_assets.resources.postgres.connections import normalised
from m5_assets.resources.postgres.roles import DAGSTER, READER, WRITER
from m5_assets.settings import settings


@click.command()
def migrate() -> None:
    """Prepare an external PostgreSQL: login roles and the newest schema.

    Connects as the user of M5_DATABASE_URL, who must be an administrator, and gives the roles the passwords in
    M5_DATABASE_READER_PASSWORD, M5_DATABASE_WRITER_PASSWORD and M5_DATABASE_DAGSTER_PASSWORD. Run it before the
    first start and after each upgrade of the platform. The embedded server needs none of this.
    """
    source = settings()
    url = source.database_url.get_secret_value()
    if not url:
        raise UserError("M5_DATABASE_URL is not set: the embedded server upgrades itself, there is nothing to do")
    secrets = {
        READER: source.database_reader_password,
        WRITER: source.database_writer_password,
        DAGSTER: source.database_dagster_password,
    }
    passwords = {role: secret.get_secret_value() for role, secret in secrets.items() if secret.get_secret_value()}
    try:
        administer(normalised(url), passwords)
    except DBAPIError as problem:
        raise UserError(f"the database refused: {str(problem.orig).strip()}") from problem
    click.echo("the schema m5 is at the newest revision")
    click.echo(f"can log in: {', '.join(sorted(passwords)) or 'no role, as none has a password in the environment'}")
