"""`m5 migrate`: it prepares an external database, and says in one line what is in its way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from m5_assets.cli.main import cli
from m5_assets.errors import UserError
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.roles import OWNER
from m5_assets.settings import settings
from m5_assets_tests.resources.conftest import new_home, superuser_of
from m5_assets_tests.resources.test_postgres_load import ask


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def migrate(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Result:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return CliRunner().invoke(cli, ["migrate"])


def test_it_prepares_a_database_and_names_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with new_home() as home:
        superuser = superuser_of(home)
        url = superuser.url.render_as_string(hide_password=False)
        own = {"M5_DATABASE_READER_PASSWORD": "reads-1", "M5_DATABASE_WRITER_PASSWORD": "loads-1"}
        done = migrate(monkeypatch, M5_DATABASE_URL=url, **own)
        assert done.exit_code == 0, done.output
        assert "can log in: m5_reader, m5_writer" in done.output
        reader = PostgresResource.of(settings()).engine()
        assert ask(reader, "SELECT session_user::text, count(*) FROM m5.series GROUP BY 1") == []
        assert ask(reader, "SELECT session_user::text") == [("m5_reader",)]
        assert not [secret for secret in (*own.values(), str(superuser.url.password)) if secret in done.output]
        for engine in (reader, superuser):
            engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "M5_DATABASE_URL is not set: the embedded server upgrades itself"),
        ("postgresql://admin:hunter2@127.0.0.1:9/m5", "the database refused: connection to server"),
    ],
)
def test_what_is_in_its_way_is_one_line(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = migrate(monkeypatch, M5_DATABASE_URL=url)
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert "hunter2" not in str(done.exception) + done.output


def test_a_role_that_is_not_the_administrator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with new_home() as home:
        owner = PostgresResource(home=str(home)).engine(OWNER)
        done = migrate(monkeypatch, M5_DATABASE_URL=owner.url.render_as_string(hide_password=False))
        owner.dispose()
    assert "m5_owner may not create roles" in str(done.exception)


def test_passwords_without_an_address_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    done = migrate(monkeypatch, M5_DATABASE_READER_PASSWORD="reads")
    assert "M5_DATABASE_READER_PASSWORD is set, but M5_DATABASE_URL is not" in str(done.exception)
