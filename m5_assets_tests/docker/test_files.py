"""Tests of the files in docker/ without a container engine: relevant hadolint rules, Compose, settings."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings
from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import OperationalError

import m5_assets.settings
from m5_assets.model_specs import JOB_KINDS
from m5_assets.resources.postgres.administration import DAGSTER_DATABASE, administer
from m5_assets.resources.postgres.roles import DAGSTER, READER, WRITER
from m5_assets.resources.postgres.server_binaries import find_launcher
from m5_assets_tests.resources.conftest import new_home, superuser_of

ROOT = Path(__file__).parents[2]
JOBS = JOB_KINDS
DOCKERFILES = {name: ROOT / "docker" / f"Dockerfile.{name}" for name in ("platform", *JOBS)}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
ENDING = ("migrate", "postgres16")
"""Services that end: the migration, and the server of earlier versions during an upgrade."""
SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|KEY)", re.IGNORECASE)


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILES[name].read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        keyword, _, rest = line.partition(" ")
        found.append((keyword, rest.strip()))
    return found


def values(name: str, keyword: str) -> list[str]:
    return [rest for found, rest in instructions(name) if found == keyword]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_base_image_can_be_pinned_by_digest(name: str) -> None:
    assert instructions(name)[0] == ("ARG", "BASE=python:3.11-slim-bookworm")
    assert values(name, "FROM") == ["${BASE}"]
    assert "latest" not in DOCKERFILES[name].read_text()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_programs_are_started_without_a_shell(name: str) -> None:
    started = [rest for keyword in ("ENTRYPOINT", "CMD") for rest in values(name, keyword)]
    started += [rest.partition("CMD ")[2] for rest in values(name, "HEALTHCHECK")]
    assert started
    assert all(all(isinstance(word, str) for word in json.loads(argv)) for argv in started)


def test_the_platform_is_not_root_and_has_a_health_check() -> None:
    assert values("platform", "USER") == ["m5"]
    assert len(values("platform", "HEALTHCHECK")) == 1


@pytest.mark.parametrize("name", JOBS)
def test_a_job_drops_root_before_its_program_starts(name: str) -> None:
    (entry,) = values(name, "ENTRYPOINT")
    assert json.loads(entry) == ["/opt/m5/entry.sh", "python", "-m", f"m5_assets.containers.{name}"]
    entry_point = ROOT / "docker/entry.sh"
    assert os.access(entry_point, os.X_OK)
    subprocess.run(["/bin/sh", "-n", entry_point], check=True)
    assert "setpriv --reuid m5" in entry_point.read_text()


@pytest.mark.parametrize("name", JOBS)
def test_a_job_image_contains_what_its_tag_covers(name: str) -> None:
    copied = [shlex.split(rest)[0] for rest in values(name, "COPY") if rest.startswith("m5_assets")]
    assert copied == ["m5_assets/__init__.py", "m5_assets/forecasting", "m5_assets/containers"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_copied_paths_exist_and_are_in_the_build_context(name: str) -> None:
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for rest in values(name, "COPY"):
        *sources, _ = shlex.split(rest)
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(source == allowed or source.startswith(f"{allowed}/") for allowed in context), source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_packages_are_verified_have_the_tested_versions_and_leave_no_cache(name: str) -> None:
    assert any("PIP_NO_CACHE_DIR=1" in rest for rest in values(name, "ENV"))
    for command in values(name, "RUN"):
        if "apt-get install" in command:
            assert "--no-install-recommends" in command
            assert "rm -rf /var/lib/apt/lists/*" in command
        if "pip install" in command:  # the project itself
            assert "--no-deps --no-build-isolation ." in command
    installed = [command for command in values(name, "RUN") if "install.sh" in command]
    assert installed
    if name != "platform":
        wanted = [word for command in installed for word in command.split("constraints.txt")[1].split()]
        assert set(wanted) <= {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_labelled_and_contains_no_secret(name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in values(name, "ARG")
    labels = " ".join(values(name, "LABEL"))
    for label in ("title", "description", "version", "revision", "base.name"):
        assert f"org.opencontainers.image.{label}=" in labels
    assert not SECRET.search(" ".join(values(name, "ENV") + values(name, "ARG")))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_has_a_health_check_a_restart_policy_and_a_pinned_image(name: str) -> None:
    service = COMPOSE["services"][name]
    assert name in ENDING or service["healthcheck"]["test"][0].upper() == "CMD"
    assert service["restart"] == ("no" if name in ENDING else "unless-stopped")
    assert not service["image"].endswith(":latest")
    assert ":" in service["image"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_webserver_is_guarded() -> None:
    assert COMPOSE["services"]["webserver"]["command"][:2] == ["m5", "webserver"]


def test_services_start_once_their_dependencies_are_ready() -> None:
    needs = {name: service.get("depends_on", {}) for name, service in COMPOSE["services"].items()}
    healthy, done = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
    assert needs["migrate"] == {"postgres": healthy}
    assert needs["code"] == {"migrate": done}
    assert all(needs[name] == {"code": healthy} for name in ("daemon", "webserver", "dashboard"))


def test_each_service_has_the_passwords_of_its_roles_alone() -> None:
    """The env_file has them all, so the others have to be emptied."""
    reader, writer, dagster = (f"M5_DATABASE_{role}_PASSWORD" for role in ("READER", "WRITER", "DAGSTER"))
    expected = {
        "postgres": {"POSTGRES_PASSWORD"},
        "postgres16": {"POSTGRES_PASSWORD"},
        "migrate": {"PGPASSWORD", reader, writer, dagster},
        "code": {reader, writer, dagster},
        "daemon": {dagster},
        "webserver": {dagster},
        "dashboard": {reader, dagster},
    }
    assert expected.keys() == COMPOSE["services"].keys()
    for name, service in COMPOSE["services"].items():
        found = {key: value for key, value in service["environment"].items() if SECRET.search(key)}
        given = {key: value for key, value in found.items() if value}
        assert given.keys() == expected[name], name
        for key, value in given.items():
            assert value.startswith(f"${{{'POSTGRES_PASSWORD' if key == 'PGPASSWORD' else key}:?"), name
        if "env_file" in service:
            assert {"POSTGRES_PASSWORD", reader, writer, dagster} <= found.keys(), name
    example = (ROOT / "docker/.env.example").read_text()
    assert all(f"\n{name}=\n" in example for name in ("POSTGRES_PASSWORD", reader, writer, dagster))
    assert ".env\n" in (ROOT / "docker/.gitignore").read_text()


def test_missing_passwords_are_generated_and_others_kept(tmp_path: Path) -> None:
    script = tmp_path / "passwords.sh"
    shutil.copy(ROOT / "docker/passwords.sh", script)
    written = tmp_path / ".env"
    written.write_text("POSTGRES_PASSWORD=mine\nM5_DATABASE_READER_PASSWORD=\nM5_LAST_WEEK=2016-05-16")
    written.chmod(0o644)
    said = [subprocess.run([script], check=True, capture_output=True, text=True).stdout for _ in range(2)]
    lines = written.read_text().splitlines()
    assert lines[:2] == ["POSTGRES_PASSWORD=mine", "M5_LAST_WEEK=2016-05-16"]
    found = dict(line.split("=") for line in lines)
    assert len({value for name, value in found.items() if name.startswith("M5_DATABASE")}) == 3
    assert all(len(value) == 48 for name, value in found.items() if name.startswith("M5_DATABASE"))
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert said[0].count("generated") == 3
    assert said[1] == ""
    assert not [value for value in found.values() if len(value) == 48 and value in said[0]]


def test_one_version_of_postgres_everywhere() -> None:
    template = (ROOT / "infrastructure/stacks/database.yaml").read_text()
    (on_aws,) = re.findall(r'EngineVersion: "(\d+)', template)
    major = find_launcher().run("postgres", "--version").split()[-1].partition(".")[0]
    assert COMPOSE["services"]["postgres"]["image"] == f"postgres:{on_aws}"
    assert major == on_aws
    # The image keeps its data in a folder of the version below this one.
    assert "database18:/var/lib/postgresql" in COMPOSE["services"]["postgres"]["volumes"]


@pytest.fixture
def stack() -> Iterator[URL]:
    """Start PostgreSQL with the Compose file's login rules, and yield its administrator's URL."""
    with new_home() as home:
        superuser = superuser_of(home)
        url = superuser.url.set(username="m5", password="admins")
        with superuser.begin() as connection:
            connection.execute(text("ALTER ROLE m5 PASSWORD 'admins'"))
        superuser.dispose()
        data = home / "postgres" / "data"
        shutil.copy(ROOT / "docker/postgres/pg_hba.conf", data / "pg_hba.conf")
        find_launcher().run("pg_ctl", "reload", f"--pgdata={data}")
        yield url


def test_the_stacks_login_rules_let_each_role_into_its_database_alone(stack: URL) -> None:
    passwords = {READER: "reads", WRITER: "loads", DAGSTER: "runs"}
    administer(stack, passwords)
    storage = yaml.safe_load((ROOT / "docker/dagster.yaml").read_text())["storage"]["postgres"]["postgres_db"]
    assert (storage["hostname"], storage["username"], storage["db_name"]) == ("postgres", DAGSTER, DAGSTER_DATABASE)
    assert (storage["scheme"], storage["password"]) == (
        "postgresql+psycopg2",
        {"env": "M5_DATABASE_DAGSTER_PASSWORD"},
    )
    assert storage["params"] == {"client_encoding": "utf8"}
    assert COMPOSE["x-address"]["M5_DATABASE_URL"].endswith(f"@postgres:5432/{stack.database}")
    own = {READER: "m5", WRITER: "m5", DAGSTER: "dagster"}
    for role, password in passwords.items():
        for database in ("m5", "dagster", "postgres", "template1"):
            engine = create_engine(stack.set(username=role, password=password, database=database))
            if database == own[role]:
                engine.connect().close()
            else:
                with pytest.raises(OperationalError, match=r"pg_hba\.conf"):
                    engine.connect()
            engine.dispose()


def test_the_settings_in_the_files_exist() -> None:
    known = {
        f"{settings.model_config['env_prefix']}{field}".upper()
        for settings in BaseSettings.__subclasses__()
        if settings.__module__.startswith(f"{m5_assets.__name__}.settings.")
        for field in settings.model_fields
    } | {"M5_SERVE_HOST"}
    texts = [
        path.read_text() for path in (*DOCKERFILES.values(), ROOT / "docker/compose.yaml", ROOT / "docker/.env.example")
    ]
    named = {name for text in texts for name in re.findall(r"\bM5_[A-Z_]+", text)}
    assert {"M5_DATABASE_URL", "M5_HOME", "M5_SERVE_HOST"} <= named <= known
