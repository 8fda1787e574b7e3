"""Every call that the code makes has its example, and a role that may make it. Deployments: `extras/deployment`."""

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


def test_no_call_of_the_code_is_missing_here() -> None:
    services = sorted({service for service, _ in OPERATIONS} | {"quicksight", "sts", "secretsmanager"})
    found = {(service, name) for service in services for name in _operations_called(service, _sources())}
    # SecretStr has a method of the same name as Secrets Manager's client.
    found.discard(("secretsmanager", "GetSecretValue"))
    assert found - set(OPERATIONS) == set()
    # Of SageMaker, no role is allowed for a call that nothing makes.
    assert {name for service, name in OPERATIONS if service == "sagemaker"} == {n for s, n in found if s == "sagemaker"}


def test_the_library_spells_its_calls_out() -> None:
    """A method's name that is computed would escape the search above."""
    computed = [
        path.name
        for path in _sources()
        if path.is_relative_to(LIBRARY)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if not isinstance(node.args[1], ast.Constant)
    ]
    assert computed == ["__init__.py"]  # the library's exports, which are imported on demand


def test_no_service_is_called_that_no_role_knows() -> None:
    used = {name for path in _sources() for name in re.findall(r'boto3\.client\(\s*["\'](\w+)["\']', path.read_text())}
    assert used - {service for service, _ in OPERATIONS} == set()


def test_every_operation_has_an_example_that_is_allowed() -> None:
    shown = {action for action, _, _ in orchestrator_calls()}
    # Who one is, AWS tells everybody: it needs no permission.
    assert set(OPERATIONS.values()) - shown == {"sts:GetCallerIdentity"}


def _sources() -> list[Path]:
    """List the modules that speak to AWS with the orchestrator's role: not the local runner, not `m5 deploy`."""
    apart = ("m5_assets/extras/deployment", "m5_assets/containers")
    found = [p for p in (ROOT / "m5_assets").rglob("*.py") if not p.relative_to(ROOT).as_posix().startswith(apart)]
    found += [p for p in LIBRARY.rglob("*.py") if p.relative_to(LIBRARY).parts[0] != "local"]
    return [path for path in found if "boto" in path.read_text() or "sagemaker" in path.as_posix()]


def _operations_called(service: str, sources: Sequence[Path]) -> set[str]:
    """Return the operations of a service whose methods, or paginators, the modules call by name."""
    operations: list[str] = boto3.client(service, region_name="us-east-1").meta.service_model.operation_names  # type: ignore[call-overload]  # any service
    # Methods of a single word, such as `publish` or `search`, are other objects' too.
    methods = {xform_name(name): name for name in operations if "_" in xform_name(name)}
    called: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                called.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                called.add(node.value)
    return {name for method, name in methods.items() if method in called}


def test_a_job_may_make_every_call_of_its_program(account: Account) -> None:
    sources = sorted((ROOT / "m5_assets/containers").glob("*.py"))
    clients = {name for path in sources for name in re.findall(r'boto3\.client\("(\w+)"', path.read_text())}
    assert clients == {"s3"}  # the messages of Dagster Pipes; SageMaker itself brings and takes the files
    called = _operations_called("s3", sources) | {"GetObject", "PutObject"}  # the latter two are dagster_pipes' own
    for kind in JOB_KINDS:
        prefix = kind if kind == "features" else f"{kind}-model"
        message = f"{LAKE}/lake/pipes/{prefix}-2016-05-16-0a1b-a1/messages/1.json"
        assert [n for n in called if not allows(account.rights(f"m5-prod-job-{kind}"), f"s3:{n}", message)] == []
