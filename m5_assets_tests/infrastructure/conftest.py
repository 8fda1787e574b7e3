"""An account on a moto server, a checkout to deploy from, and an engine that pushes without building."""

from __future__ import annotations

import ast
import itertools
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from m5_assets.extras.deployment.releases import Environment, Release, compose
from m5_assets.model_specs import JOB_KINDS
from m5_assets_tests.support import moto_gaps
from m5_assets_tests.support.iam_policies import Rights

ROOT = Path(__file__).parents[2]
INFRASTRUCTURE = ROOT / "infrastructure"
ACCOUNT = "123456789012"
"""moto's account."""
TAGS = dict.fromkeys(("platform", *JOB_KINDS), "0123abcd")

_ENGINE = """#!{python}
import os, sys
import boto3
with open(os.environ["M5_TEST_ENGINE_LOG"], "a") as log:
    print(*sys.argv[1:], file=log)
if sys.argv[1] == "push":
    repository, _, tag = sys.argv[2].partition("/")[2].rpartition(":")
    manifest = '{{"schemaVersion": 2, "mediaType": "%s", "config": {{"digest": "%s"}}}}' % (
        "application/vnd.docker.distribution.manifest.v2+json", sys.argv[2])
    boto3.client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=manifest)
"""


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """Start a moto server, its gaps filled, and point this process's AWS configuration at it until the package ends."""
    with pytest.MonkeyPatch.context() as patch:
        moto_gaps.fill(patch)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        running = ThreadedMotoServer(port=0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
        running.stop()


def environment(name: str) -> Environment:
    """Return an environment of the repository, in moto's account."""
    found = Environment.load(name, INFRASTRUCTURE / "environments")
    return Environment(found.name, ACCOUNT, found.region, found.parameters)


def create_all(release: Release) -> None:
    """Create every stack of a release, in order."""
    client = boto3.client("cloudformation")
    for stack in release.stacks:
        client.create_stack(
            StackName=stack.name,
            TemplateBody=stack.template,
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in stack.parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )


@dataclass(frozen=True)
class Account:
    """An account in which the stacks of an environment have been created."""

    release: Release
    found: dict[str, Rights] = field(default_factory=dict, repr=False)

    def stack(self, part: str) -> Any:
        return boto3.client("cloudformation").describe_stacks(StackName=self._name(part))["Stacks"][0]

    def outputs(self, part: str) -> dict[str, str]:
        return {entry["OutputKey"]: entry["OutputValue"] for entry in self.stack(part)["Outputs"]}

    def resources(self, part: str) -> set[str]:
        found = boto3.client("cloudformation").describe_stack_resources(StackName=self._name(part))["StackResources"]
        return {entry["LogicalResourceId"] for entry in found if "LogicalResourceId" in entry}

    def rights(self, role: str) -> Rights:
        """Return what a role is given, with every reference resolved."""
        if role not in self.found:
            iam = boto3.client("iam")
            names = iam.list_role_policies(RoleName=role)["PolicyNames"]
            texts = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
            arn = iam.get_role(RoleName=role)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
            boundary: Any = (
                iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] if arn else None
            )
            # moto returns what CloudFormation made as Python's text of a dictionary instead of JSON.
            self.found[role] = Rights([ast.literal_eval(str(text)) for text in texts], boundary)
        return self.found[role]

    def trust(self, role: str) -> dict[str, Any]:
        document: dict[str, Any] = boto3.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        return document

    def task(self, part: str) -> dict[str, Any]:
        arn = self.outputs(part)["TaskArn"]
        found: dict[str, Any] = boto3.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return found

    def _name(self, part: str) -> str:
        return next(stack.name for stack in self.release.stacks if stack.part == part)


@pytest.fixture(scope="package")
def account(server: str) -> Account:
    """Return an account with the production environment's stacks."""
    release = compose(environment("prod"), INFRASTRUCTURE, TAGS)
    create_all(release)
    return Account(release)


@dataclass(frozen=True)
class Checkout:
    """A checkout with one environment, whose name no other test uses: all tests share moto's account."""

    root: Path
    environment: str

    def write_environment(self, *, account: str = ACCOUNT, **changed: str) -> Path:
        """Write the environment's file: development's parameters, some of them changed."""
        content = {
            "account": account,
            "region": "us-east-1",
            "parameters": {**environment("dev").parameters, **changed},
        }
        path = self.root / "infrastructure" / "environments" / f"{self.environment}.json"
        path.write_text(json.dumps(content))
        return path


_numbers = itertools.count(1)


@pytest.fixture
def checkout(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Return a checkout with an environment of its own and an engine that notes what it is asked."""
    root = tmp_path / "checkout"
    shutil.copytree(INFRASTRUCTURE, root / "infrastructure", ignore=shutil.ignore_patterns("*.json"))
    made = Checkout(root, f"test{next(_numbers)}")
    made.write_environment()
    (root / "docker").mkdir()
    for name in TAGS:
        (root / "docker" / f"Dockerfile.{name}").write_text("FROM scratch\n")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text(_ENGINE.format(python=sys.executable))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("M5_TEST_ENGINE_LOG", str(tmp_path / "engine.log"))
    return made


def engine_calls() -> list[str]:
    """Return what the engine was asked for since, and forget it."""
    log = Path(os.environ["M5_TEST_ENGINE_LOG"])
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines
