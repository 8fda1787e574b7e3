"""Tests of Dagster's ECS tasks: valid settings, existing commands, an instance that loads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import yaml
from dagster_aws.ecs import EcsRunLauncher
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from sqlalchemy import Engine, make_url

from m5_assets.cli.main import cli
from m5_assets.model_specs import JOB_KINDS
from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres.administration import DAGSTER_DATABASE, administer
from m5_assets.resources.postgres.roles import DAGSTER
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import Settings, settings
from m5_assets_tests.infrastructure.conftest import ACCOUNT, INFRASTRUCTURE, TAGS, Account
from m5_assets_tests.resources.conftest import new_home, superuser_of
from m5_assets_tests.support.dagster_internals import api_cli, daemon_cli

TMP = "/tmp"  # noqa: S108  # in the tasks, not here
SERVICES = ("run", "code", "daemon", "webserver")
PASSWORDS = {
    "M5_DATABASE_READER_PASSWORD": "ReaderSecretArn",
    "M5_DATABASE_WRITER_PASSWORD": "WriterSecretArn",
    "M5_DATABASE_DAGSTER_PASSWORD": "DagsterSecretArn",
}
"""Each role's password and the output of the stack `database` that names its secret."""


def containers(account: Account, service: str) -> dict[str, dict[str, Any]]:
    # moto leaves None in the list for AWS::NoValue.
    return {found["name"]: found for found in account.task(service)["containerDefinitions"] if found}


def container(account: Account, service: str) -> dict[str, Any]:
    return containers(account, service)["m5"]


def secrets(found: dict[str, Any]) -> dict[str, str]:
    """Return where each secret of a container comes from."""
    return {entry["name"]: entry["valueFrom"] for entry in found["secrets"] if entry}


def variables(account: Account, service: str) -> dict[str, str]:
    # moto leaves None in the list for AWS::NoValue.
    return {entry["name"]: entry["value"] for entry in container(account, service)["environment"] if entry}


def setting_names(model: type[BaseModel], prefix: str = "M5_") -> Iterator[str]:
    """Yield the environment variables that settings are read from."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        if inner is not None and issubclass(inner, BaseSettings):
            yield from setting_names(inner, inner.model_config["env_prefix"])
        elif inner is not None:
            yield from setting_names(inner, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_all_tasks_have_the_same_environment(account: Account) -> None:
    first, *others = (variables(account, service) for service in SERVICES)
    assert all(other == first for other in others)


def test_every_variable_of_the_platform_is_a_setting(account: Account) -> None:
    given = {name for name in variables(account, "run") if name.startswith("M5_") and not name.startswith("M5_AWS_")}
    assert given - set(setting_names(Settings)) == set()
    assert "M5_LAST_WEEK" not in given  # production has live data


def test_the_settings_of_a_task_are_valid_and_point_to_the_stacks(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables(account, "run").items():
        monkeypatch.setenv(name, value)
    found = Settings()
    bucket = account.outputs("lake")["LakeBucket"]
    assert (found.lake, found.landing) == (f"s3://{bucket}/lake", f"s3://{bucket}/landing")
    jobs = found.sagemaker
    assert jobs.mode == "aws"
    assert jobs.image("gbm") == f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/m5-prod/gbm:{TAGS['gbm']}"
    runner = SageMakerJobs(home=str(tmp_path), lake=Lake(root=found.lake), job_settings=jobs)
    for kind in JOB_KINDS:
        assert runner.role_arn(kind) == account.outputs(f"job-{kind}")["RoleArn"]
    network = account.outputs("network")
    assert jobs.subnets == (network["PrivateSubnetA"], network["PrivateSubnetB"])
    assert jobs.security_group_ids == (network["JobsSecurityGroupId"],)
    assert jobs.tags == {"project": "m5", "environment": "prod"}
    assert not jobs.training("gbm").spot
    assert jobs.training("gbm").instance_type == "ml.m5.2xlarge"  # setting one field keeps the others
    [channel] = found.alerts.urls
    assert channel.get_secret_value() == f"snstopic://{account.outputs('alerts')['TopicArn']}"


def test_the_database_is_reached_by_tls_and_its_passwords_are_secrets(account: Account) -> None:
    url = make_url(variables(account, "run")["M5_DATABASE_URL"])
    assert (url.drivername, url.host) == ("postgresql+psycopg2", account.outputs("database")["Host"])
    assert url.password is None
    assert url.query["sslmode"] == "verify-full"
    dagsters, everyones = {"M5_DATABASE_DAGSTER_PASSWORD"}, set(PASSWORDS)
    expected = {"daemon": dagsters, "webserver": dagsters, "code": everyones, "run": everyones}
    for service, names in expected.items():
        found = secrets(container(account, service))
        assert set(found) == names
        assert set(found.values()) == {f"{account.outputs('database')[PASSWORDS[name]]}:password::" for name in names}


def test_only_the_migration_has_the_administrators_password(account: Account) -> None:
    master = f"{account.outputs('database')['SecretArn']}:password::"
    for service in SERVICES:
        found = containers(account, service)
        assert set(found) == ({"m5", "migrate"} if service == "code" else {"m5"})
        assert master not in secrets(found["m5"]).values()
    migrate, code = (containers(account, "code")[name] for name in ("migrate", "m5"))
    assert secrets(migrate)["PGPASSWORD"] == master
    assert set(secrets(migrate)) == {"PGPASSWORD", *PASSWORDS}
    assert (migrate["image"], migrate["essential"]) == (code["image"], False)
    assert code["dependsOn"] == [{"containerName": "migrate", "condition": "SUCCESS"}]
    program, name = migrate["command"]
    assert (program, name in cli.list_commands(click.Context(cli))) == ("m5", True)
    given = {entry["name"]: entry["value"] for entry in migrate["environment"]}
    assert set(given) - {"HOME"} <= set(setting_names(Settings))
    assert given["M5_DATABASE_URL"] == variables(account, "code")["M5_DATABASE_URL"]


def test_tasks_run_the_platforms_image_and_log_by_part(account: Account) -> None:
    for service in SERVICES:
        only = container(account, service)
        assert only["name"] == "m5"
        assert only["image"] == f"{account.outputs('platform')['RepositoryUri']}:{TAGS['platform']}"
        assert only["logConfiguration"]["options"]["awslogs-stream-prefix"] == service


def test_the_commands_exist(account: Account) -> None:
    clis = {"dagster-daemon": daemon_cli, "m5": cli}
    for service in ("code", "daemon", "webserver"):
        program, *arguments = container(account, service)["command"]
        arguments = [re.sub("^/opt/m5/dagster", str(INFRASTRUCTURE), argument) for argument in arguments]
        if program == "dagster":
            assert arguments.pop(0) == "api"
            group: Any = api_cli
        else:
            group = clis[program]
        if isinstance(group, click.Group):
            group = group.get_command(click.Context(group), arguments.pop(0))
        # Only parsed, not run.
        assert group.make_context(program, arguments, ignore_unknown_options=False).params


def test_the_webserver_is_guarded_and_listens_only_on_loopback(account: Account) -> None:
    command = container(account, "webserver")["command"]
    assert command[:2] == ["m5", "webserver"]
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_a_health_check_queries_the_database_and_then_the_service(account: Account) -> None:
    for service in SERVICES:
        kind, line = container(account, service)["healthCheck"]["command"]
        assert kind == "CMD-SHELL"
        programs = re.findall(r'python -c "([^"]*)"', line)
        assert "psycopg2.connect" in programs[0]
        for program in programs:
            compile(program, service, "exec")
        assert " && " in line


def test_tasks_write_to_a_volume_and_not_to_their_image(account: Account) -> None:
    for service in SERVICES:
        task = account.task(service)
        assert [volume["name"] for volume in task["volumes"]] == ["tmp"]
        for found in filter(None, task["containerDefinitions"]):
            assert found["readonlyRootFilesystem"] is (service != "webserver"), found["name"]
            assert found["mountPoints"] == [{"sourceVolume": "tmp", "containerPath": TMP}]
            given = {entry["name"]: entry["value"] for entry in found["environment"] if entry}
            assert (given["HOME"], given["M5_HOME"]) == (TMP, f"{TMP}/m5")
    assert f'VOLUME ["{TMP}"]' in (INFRASTRUCTURE / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def administrator() -> Iterator[Engine]:
    with new_home() as home:
        engine = superuser_of(home)
        yield engine
        engine.dispose()


@pytest.fixture
def instance(
    account: Account, administrator: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dg.DagsterInstance:
    """Return the instance of infrastructure/dagster.yaml, on a real PostgreSQL after `m5 migrate`."""
    administer(administrator.url, {DAGSTER: "not-a-secret"})
    config = yaml.safe_load((INFRASTRUCTURE / "dagster.yaml").read_text())
    storage = config["storage"]["postgres"]["postgres_db"]
    assert (storage["username"], storage["db_name"]) == (DAGSTER, DAGSTER_DATABASE)
    assert storage["params"].pop("sslmode") == "verify-full"  # no TLS on loopback
    storage["port"] = administrator.url.port
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    for name, value in variables(account, "run").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("M5_AWS_DATABASE_HOST", str(administrator.url.host))
    monkeypatch.setenv("M5_DATABASE_DAGSTER_PASSWORD", "not-a-secret")
    return dg.DagsterInstance.from_config(str(tmp_path))


def test_the_instance_keeps_its_storage_in_postgres(instance: dg.DagsterInstance) -> None:
    assert "Postgres" in type(instance.run_storage).__name__
    run = instance.create_run_for_job(_job)
    assert instance.get_run_by_id(run.run_id) is not None
    assert instance.get_runs_count() >= 1


def test_the_instance_starts_runs_with_the_run_task(account: Account, instance: dg.DagsterInstance) -> None:
    launcher = instance.run_launcher
    assert isinstance(launcher, EcsRunLauncher)
    assert launcher.task_definition == account.outputs("run")["TaskArn"]
    assert launcher.container_name == container(account, "run")["name"]


def test_the_instance_keeps_step_logs_in_the_lakes_bucket(account: Account, instance: dg.DagsterInstance) -> None:
    manager: Any = instance.compute_log_manager
    assert (manager._s3_bucket, manager._s3_prefix) == (account.outputs("lake")["LakeBucket"], "dagster")


def test_tasks_have_all_variables_of_the_configuration(account: Account) -> None:
    asked = set()
    for name in ("dagster.yaml", "workspace.yaml"):
        asked |= set(_environment_names(yaml.safe_load((INFRASTRUCTURE / name).read_text())))
    assert asked <= {*variables(account, "daemon"), *secrets(container(account, "daemon"))}
    given = {name for name in variables(account, "daemon") if name.startswith("M5_AWS_")}
    health = container(account, "daemon")["healthCheck"]["command"][1]
    assert "os.environ['M5_AWS_DATABASE_HOST']" in health
    assert given <= asked


def _environment_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"env"}:
            yield value["env"]
        for inner in value.values():
            yield from _environment_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _environment_names(inner)


@dg.op
def _nothing() -> None:
    """Do nothing."""


@dg.job
def _job() -> None:
    _nothing()
