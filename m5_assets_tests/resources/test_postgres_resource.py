"""The PostgreSQL resource: which database it connects to, and that it hides the password."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from dagster import Definitions, EnvVar, asset, materialize
from pydantic import SecretStr
from sqlalchemy import text

from m5_assets.errors import UserError
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.connections import normalised
from m5_assets.resources.postgres.roles import OWNER, READER, WRITER
from m5_assets.settings import Settings


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_postgres_scheme_uses_psycopg2(scheme: str) -> None:
    url = normalised(f"{scheme}://planner:s%40cret@db.example:6543/sales?sslmode=require")
    assert url.render_as_string(hide_password=False) == (
        "postgresql+psycopg2://planner:s%40cret@db.example:6543/sales?sslmode=require"
    )


@pytest.mark.parametrize("url", ["mysql://u:s3cret@h/d", "no address s3cret", "postgresql+asyncpg://u:s3cret@h/d"])
def test_other_databases_are_rejected_without_showing_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="database URL") as caught:
        normalised(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_password_is_not_shown() -> None:
    resource = PostgresResource(url="postgresql://planner:s3cret@db.example/sales", home="/nowhere")
    shown = [repr(resource), str(resource), repr(resource.engine()), repr(resource.engine().url)]
    own = PostgresResource(
        url="postgresql://db.example/m5", reader_password="s3cret", writer_password="s3cret2", home="/nowhere"
    )
    shown += [repr(own), str(own), *(repr(own.engine(role)) for role in (READER, WRITER))]
    assert not [text for text in shown if "s3cret" in text]


def test_each_role_of_an_external_database_logs_in_itself() -> None:
    own = PostgresResource(url="postgresql://admin:x@db.example/m5", reader_password="r", writer_password="w", home="/")
    found = [own.engine(role).url for role in (READER, WRITER)]
    assert [(url.username, url.password, url.database) for url in found] == [
        ("m5_reader", "r", "m5"),
        ("m5_writer", "w", "m5"),
    ]
    with pytest.raises(UserError, match="m5 migrate"):
        own.engine(OWNER)
    with pytest.raises(UserError, match="M5_DATABASE_WRITER_PASSWORD"):
        PostgresResource(url="postgresql://db.example/m5", reader_password="r", home="/").engine(WRITER)


def test_a_url_alone_does_everything_as_its_own_user() -> None:
    one = PostgresResource(url="postgresql://planner:x@db.example/m5", home="/")
    assert {one.engine(role).url.username for role in (READER, WRITER, OWNER)} == {"planner"}


def test_an_asset_reaches_the_embedded_server(postgres_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    @asset
    def answer(postgres: PostgresResource) -> int:
        with postgres.engine().connect() as connection:
            return int(connection.execute(text("SELECT 42")).scalar_one())

    with caplog.at_level(logging.DEBUG):
        result = materialize([answer], resources={"postgres": PostgresResource(home=str(postgres_home))})
    assert result.output_for_node("answer") == 42
    assert (postgres_home / "postgres" / "passwords" / "m5_reader").read_text() not in caplog.text


def test_dagster_gets_the_secrets_by_reference_alone() -> None:
    """Its UI shows how a resource is configured."""
    names = ("M5_DATABASE_URL", "M5_DATABASE_READER_PASSWORD", "M5_DATABASE_WRITER_PASSWORD")
    source = Settings(
        database_url=SecretStr("postgresql://admin:s3cret@db.example/m5"),
        database_reader_password=SecretStr("s3cret2"),
        database_writer_password=SecretStr("s3cret3"),
    )
    resource = PostgresResource.from_environment(source)
    assert [resource.url, resource.reader_password, resource.writer_password] == [EnvVar(name) for name in names]
    shown = str(Definitions(resources={"postgres": resource}).get_repository_def().get_top_level_resources())
    assert "s3cret" not in shown + repr(resource)
    embedded = PostgresResource.from_environment(Settings())
    assert (embedded.url, embedded.reader_password, embedded.writer_password) == ("", "", "")
