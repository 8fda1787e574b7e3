"""Tests that every AWS call in the code has an example and a role that allows it; except for deployments."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import boto3
from botocore import xform_name

from m5_assets.model_specs import JOB_KINDS
from m5_assets_tests.infrastructure.conftest import ROOT, Account
from m5_assets_tests.support.aws_calls import LAKE, OPERATIONS, orchestrator_calls
from m5_assets_tests.support.iam_policies import allows

LIBRARY = ROOT / "libraries/dagster-sagemaker/dagster_sagemaker"


def test_every_call_of_the_code_is_listed_here() -> None:
    services = sorted({service for service, _ in OPERATIONS} | {"quicksight", "sts", "secretsmanager"})
    found = {(service, name) for service in services for name in _operations_called(service, _sources())}
    # SecretStr has a method of the same name as Secrets Manager's client.
    found.discard(("secretsmanager", "GetSecretValue"))
    assert found - set(OPERATIONS) == set()
    # For SageMaker, no role allows a call that the code does not make.
    assert {name for service, name in OPERATIONS if service == "sagemaker"} == {n for s, n in found if s == "sagemaker"}


def test_the_library_calls_operations_by_literal_names() -> None:
    """The search above would miss computed method names."""
    computed = [
        path.name
        for path in _sources()
        if path.is_relative_to(LIBRARY)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if not isinstance(node.args[1], ast.Constant)
    ]
    assert computed == ["__init__.py"]  # the library's exports, which are imported lazily


def test_every_called_service_is_known_to_a_role() -> None:
    used = {name for path in _sources() for name in re.findall(r'boto3\.client\(\s*["\'](\w+)["\']', path.read_text())}
    assert used - {service for service, _ in OPERATIONS} == set()


def test_every_operation_has_an_example_that_is_allowed() -> None:
    shown = {action for action, _, _ in orchestrator_calls()}
    # GetCallerIdentity needs no permission.
    assert set(OPERATIONS.values()) - shown == {"sts:GetCallerIdentity"}


def _sources() -> list[Path]:
    """Return the modules that call AWS with the orchestrator's role: not the local runner, not `m5 deploy`."""
    apart = ("m5_assets/extras/deployment", "m5_assets/containers")
    found = [p for p in (ROOT / "m5_assets").rglob("*.py") if not p.relative_to(ROOT).as_posix().startswith(apart)]
    found += [p for p in LIBRARY.rglob("*.py") if p.relative_to(LIBRARY).parts[0] != "local"]
    return [path for path in found if "boto" in path.read_text() or "sagemaker" in path.as_posix()]


def _operations_called(service: str, sources: Sequence[Path]) -> set[str]:
    """Return the operations of a service that the modules call by name, directly or through a paginator."""
    operations: list[str] = boto3.client(service, region_name="us-east-1").meta.service_model.operation_names  # type: ignore[call-overload]  # any service
    # Other objects also have single-word methods such as `publish` or `search`.
    methods = {xform_name(name): name for name in operations if "_" in xform_name(name)}
    called: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                called.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                called.add(node.value)
    return {name for method, name in methods.items() if method in called}


def test_a_job_may_make_all_calls_of_its_program(account: Account) -> None:
    sources = sorted((ROOT / "m5_assets/containers").glob("*.py"))
    clients = {name for path in sources for name in re.findall(r'boto3\.client\("(\w+)"', path.read_text())}
    assert clients == {"s3"}  # for Dagster Pipes messages; SageMaker itself downloads and uploads the files
    called = _operations_called("s3", sources) | {"GetObject", "PutObject"}  # dagster_pipes calls these two
    for kind in JOB_KINDS:
        prefix = kind if kind == "features" else f"{kind}-model"
        message = f"{LAKE}/lake/pipes/{prefix}-2016-05-16-0a1b-a1/messages/1.json"
        assert [n for n in called if not allows(account.rights(f"m5-prod-job-{kind}"), f"s3:{n}", message)] == []
