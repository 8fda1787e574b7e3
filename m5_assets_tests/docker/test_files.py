"""Tests of the files in docker/ without a container engine: relevant hadolint rules, Compose, settings."""

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

import m5_assets.settings
from m5_assets.model_specs import JOB_KINDS

ROOT = Path(__file__).parents[2]
JOBS = JOB_KINDS
DOCKERFILES = {name: ROOT / "docker" / f"Dockerfile.{name}" for name in ("platform", *JOBS)}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
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
    assert service["healthcheck"]["test"][0].upper() == "CMD"
    assert service["restart"] == "unless-stopped"
    assert not service["image"].endswith(":latest")
    assert ":" in service["image"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_webserver_is_guarded() -> None:
    assert COMPOSE["services"]["webserver"]["command"][:2] == ["m5", "webserver"]


def test_services_start_once_their_dependencies_are_healthy() -> None:
    needs = {name: service.get("depends_on", {}) for name, service in COMPOSE["services"].items()}
    assert all(need == {"condition": "service_healthy"} for found in needs.values() for need in found.values())
    assert set(needs["code"]) == {"postgres"}
    assert all(set(needs[name]) == {"code"} for name in ("daemon", "webserver", "dashboard"))


def test_secrets_come_from_the_environment() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service["environment"].items():
            assert not SECRET.search(name) or name == "PGPASSWORD" or name == "POSTGRES_PASSWORD"
            if SECRET.search(name):
                assert value.startswith("${POSTGRES_PASSWORD:?")
    example = (ROOT / "docker/.env.example").read_text()
    assert "\nPOSTGRES_PASSWORD=\n" in example
    assert ".env\n" in (ROOT / "docker/.gitignore").read_text()


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


def test_dagster_and_the_forecasts_have_separate_databases() -> None:
    storage = yaml.safe_load((ROOT / "docker/dagster.yaml").read_text())["storage"]["postgres"]["postgres_db"]
    assert storage["scheme"] == "postgresql+psycopg2"
    assert storage["password"] == {"env": "PGPASSWORD"}
    assert f"CREATE DATABASE {storage['db_name']};" in (ROOT / "docker/postgres/dagster.sql").read_text()
    postgres = COMPOSE["services"]["postgres"]["environment"]
    assert (storage["hostname"], storage["username"]) == ("postgres", postgres["POSTGRES_USER"])
    assert COMPOSE["services"]["code"]["environment"]["M5_DATABASE_URL"].endswith("@postgres:5432/m5")
    assert postgres["POSTGRES_DB"] == "m5" != storage["db_name"]
