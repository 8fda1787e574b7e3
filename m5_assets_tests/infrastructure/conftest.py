"""Fixtures: a moto server and an AWS account on it with production's stacks."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import cfnlint.decode
import pytest
from moto.server import ThreadedMotoServer

from m5_assets.extras.deployment.checkout import Environment, Stack, read_stacks
from m5_assets.model_specs import JOB_KINDS
from m5_assets_tests.support import moto_gaps
from m5_assets_tests.support.iam_policies import Rights

ROOT = Path(__file__).parents[2]
INFRASTRUCTURE = ROOT / "infrastructure"
ACCOUNT = "123456789012"
"""moto's account."""
TAGS = dict.fromkeys(("platform", *JOB_KINDS), "0123abcd")


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """Start a moto server with its gaps filled, and point this process's AWS configuration at it."""
    with pytest.MonkeyPatch.context() as patch:
        moto_gaps.fill(patch)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        running = ThreadedMotoServer(port=0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        # moto keeps its state in the process, and a worker may come back to this package.
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # our own
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
        running.stop()


def environment(name: str) -> Environment:
    """Return an environment from the repository, in moto's account."""
    return Environment.load(name, ROOT).model_copy(update={"account": ACCOUNT})


def stacks_of(name: str) -> list[Stack]:
    """Return the stacks of an environment from the repository."""
    return read_stacks(ROOT, environment(name), TAGS)


def template_of(path: Path) -> dict[str, Any]:
    """Return a template with short forms such as `!Ref` expanded."""
    content: dict[str, Any]
    content, problems = cfnlint.decode.decode(str(path))
    assert problems == []
    return content


def create_all(stacks: Sequence[Stack]) -> None:
    """Create stacks in order."""
    client = boto3.client("cloudformation")
    for stack in stacks:
        declared = template_of(stack.template)["Parameters"]
        client.create_stack(
            StackName=stack.name,
            TemplateBody=stack.template.read_text(),
            Parameters=[{"ParameterKey": k, "ParameterValue": stack.parameters[k]} for k in declared],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )


@dataclass(frozen=True)
class Account:
    """An account with the stacks of an environment."""

    stacks: Sequence[Stack]
    found: dict[str, Rights] = field(default_factory=dict, repr=False)

    def stack(self, part: str) -> Any:
        return boto3.client("cloudformation").describe_stacks(StackName=self._name(part))["Stacks"][0]

    def outputs(self, part: str) -> dict[str, str]:
        return {entry["OutputKey"]: entry["OutputValue"] for entry in self.stack(part)["Outputs"]}

    def resources(self, part: str) -> set[str]:
        found = boto3.client("cloudformation").describe_stack_resources(StackName=self._name(part))["StackResources"]
        return {entry["LogicalResourceId"] for entry in found if "LogicalResourceId" in entry}

    def rights(self, role: str) -> Rights:
        """Return a role's permissions with all references resolved."""
        if role not in self.found:
            iam = boto3.client("iam")
            names = iam.list_role_policies(RoleName=role)["PolicyNames"]
            texts = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
            arn = iam.get_role(RoleName=role)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
            boundary: Any = (
                iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]["Document"] if arn else None
            )
            # moto returns policies created by CloudFormation as a Python dictionary's text instead of JSON.
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
        return next(stack.name for stack in self.stacks if stack.part == part)


@pytest.fixture(scope="package")
def account(server: str) -> Account:
    """Return an account with the production environment's stacks."""
    stacks = stacks_of("prod")
    create_all(stacks)
    return Account(stacks)
