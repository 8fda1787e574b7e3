"""Start the platform's image for AWS as ECS would, with the commands, environments and health checks of the stacks.

    python -m m5_assets_tests.support.docker.aws_tasks IMAGE CERTS

CERTS is a folder with `ca.pem`, which the image trusts, and its key `ca.key`. The database is a real PostgreSQL that
requires TLS; moto stands in for AWS. IAM, jobs and runs as their own tasks need AWS and are not checked here.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from m5_assets_tests.infrastructure.conftest import Account, create_all, stacks_of
from m5_assets_tests.support import moto_gaps

POSTGRES = "docker.io/library/postgres:18"
_DATABASE = "m5-aws-postgres"
_PASSWORD = "of-the-secret"  # the database exists only for minutes
_HEALTHY_SECONDS = 600
_QUERY = """
import json, urllib.request as u
query = '{ assetNodes { id } workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }'
body = json.dumps({'query': query}).encode()
request = u.Request('http://127.0.0.1:3000/graphql', body, {'Content-Type': 'application/json'})
found = json.load(u.urlopen(request, timeout=60))['data']
print(len(found['assetNodes']), found['workspaceOrError']['locationEntries'][0]['loadStatus'])
"""

log = logging.getLogger("aws-tasks")


def main(image: str, certificates: Path) -> None:
    """Start the services in the order of their stacks and query the webserver for the code location.

    Raises:
        subprocess.CalledProcessError: if a container does not start.
        TimeoutError: if a service does not become healthy.
    """
    with pytest.MonkeyPatch.context() as patch:
        moto_gaps.fill(patch)
        with _containers() as started, _database(certificates, started) as gateway:
            server = ThreadedMotoServer(ip_address=gateway, port=0, verbose=False)
            server.start()
            endpoint = "http://{}:{}".format(*server.get_host_and_port())
            aws = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
            for name, value in {**aws, "AWS_DEFAULT_REGION": "us-east-1"}.items():
                patch.setenv(name, value)
            stacks = stacks_of("prod")
            create_all(stacks)
            account = Account(stacks)
            log.info("%d stacks on moto", len(stacks))
            hosts = {account.outputs("database")["Host"], "code.m5-prod.internal"}
            _podman("exec", _DATABASE, "sh", "-c", f"echo 127.0.0.1 {' '.join(sorted(hosts))} >> /etc/hosts")
            _serve_tls(account.outputs("database")["Host"], certificates)
            for service in ("code", "daemon", "webserver"):
                started.append(_start(image, service, account, aws))
            answer = _podman("exec", "m5-aws-webserver", "python", "-c", _QUERY).split()
            log.info("the webserver shows %s assets, code location: %s", *answer)
            assert int(answer[0]) > 0
            assert answer[1] == "LOADED"
            counted = ("--dbname", "dagster", "--command", "SELECT count(*) FROM daemon_heartbeats")
            tables = _podman("exec", _DATABASE, "psql", *_AS_M5, *counted)
            log.info("daemon heartbeats in the database: %s", tables.strip())
            assert int(tables) > 0
            server.stop()


_AS_M5 = ("--host", "/tmp", "--username", "m5", "--tuples-only", "--no-align")  # noqa: S108  # the stand-in's socket


@contextmanager
def _containers() -> Iterator[list[str]]:
    started: list[str] = []
    try:
        yield started
    finally:
        for name in reversed(started):
            _call("rm", "--force", "--volumes", name)


@contextmanager
def _database(certificates: Path, started: list[str]) -> Iterator[str]:
    """Start PostgreSQL, whose network the services share, and yield the address of this machine in it."""
    started.append(_DATABASE)
    variables = {"POSTGRES_USER": "m5", "POSTGRES_DB": "m5", "POSTGRES_PASSWORD": _PASSWORD, "PGPASSWORD": _PASSWORD}
    _podman("run", "--detach", "--name", _DATABASE, *_env(variables), "--volume", f"{certificates}:/certs:ro", POSTGRES)
    _until(lambda: _succeeds("exec", _DATABASE, "pg_isready", "--host", "127.0.0.1", "--username", "m5"), _DATABASE)
    yield _podman("inspect", "--format", "{{.NetworkSettings.Gateway}}", _DATABASE).strip()


def _serve_tls(host: str, certificates: Path) -> None:
    """Give the database a certificate for its host name and make it reject connections without TLS."""
    files = {"-keyout": "server.key", "-out": "server.pem", "-CA": "ca.pem", "-CAkey": "ca.key"}
    given = [word for option, name in files.items() for word in (option, str(certificates / name))]
    # An X.509 common name is limited to 64 characters; libpq checks the alternative name.
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=database",
        *given,
    ]
    subprocess.run([*request, "-addext", f"subjectAltName=DNS:{host}"], check=True, capture_output=True)
    (certificates / "server.key").chmod(0o644)  # the database's user makes a private copy
    data = "/var/lib/postgresql/18/docker"
    _podman(
        *("exec", "--user", "postgres", _DATABASE, "sh", "-c"),
        f"cd {data} && install -m 600 /certs/server.key /certs/server.pem . && sed -i 's/^host /hostssl /' pg_hba.conf",
    )
    settings = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl": "on"}
    for name, value in settings.items():
        command = f"ALTER SYSTEM SET {name} = '{value}'"
        _podman("exec", _DATABASE, "psql", *_AS_M5, "--dbname", "m5", "--command", command)
    _podman("exec", _DATABASE, "psql", *_AS_M5, "--dbname", "m5", "--command", "SELECT pg_reload_conf()")


def _start(image: str, service: str, account: Account, aws: dict[str, str]) -> str:
    """Start a service with its task's commands and environments, and wait until its health check passes."""
    begun, name = time.monotonic(), f"m5-aws-{service}"
    containers = {found["name"]: found for found in account.task(service)["containerDefinitions"]}
    network = ("--init", "--network", f"container:{_DATABASE}")
    task = containers.pop("m5")
    for first in containers.values():  # the migration, which ends before the service starts
        _podman("run", "--rm", *network, *_env({**_given(first), **aws}), image, *first["command"])
    _podman("run", "--detach", "--name", name, *network, *_env({**_given(task), **aws}), image, *task["command"])
    _, check = task["healthCheck"]["command"]
    try:
        _until(lambda: _succeeds("exec", name, "sh", "-c", check), name)
    except TimeoutError:
        logs = _call("logs", "--tail", "30", name)
        log.error("%s%s", logs.stdout, logs.stderr)  # noqa: TRY400  # the container's, not ours
        raise
    log.info("%s: healthy after %.0f s: %s", service, time.monotonic() - begun, json.dumps(task["command"]))
    return name


def _given(container: dict[str, Any]) -> dict[str, str]:
    """Return a container's variables, with a password for each secret."""
    secrets = [entry["name"] for entry in container["secrets"]]
    passwords = {name: _PASSWORD if name == "PGPASSWORD" else name.lower() for name in secrets}
    return {entry["name"]: entry["value"] for entry in container["environment"]} | passwords


def _env(variables: dict[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]


def _call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["podman", *arguments], check=False, text=True, capture_output=True)  # noqa: S607  # any path


def _podman(*arguments: str) -> str:
    done = _call(*arguments)
    if done.returncode:
        log.error("podman %s: %s", " ".join(arguments[:4]), done.stderr)
    done.check_returncode()
    return done.stdout


def _succeeds(*arguments: str) -> bool:
    return _call(*arguments).returncode == 0


def _until(ready: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + _HEALTHY_SECONDS
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{name} is not healthy after {_HEALTHY_SECONDS} s")
        time.sleep(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for noisy in ("werkzeug", "botocore", "moto"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    main(sys.argv[1], Path(sys.argv[2]).resolve())
