"""Tests that the roles allow all calls the platform makes and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
import pytest

from m5_assets_tests.infrastructure.conftest import ACCOUNT, INFRASTRUCTURE, Account
from m5_assets_tests.support.aws_calls import (
    AWS,
    BY_S3,
    IN_CLUSTER,
    LAKE,
    ORCHESTRATOR,
    TO_SAGEMAKER,
    TO_TASKS,
    orchestrator_calls,
)
from m5_assets_tests.support.iam_policies import Context, Rights, allows
from m5_assets_tests.support.moto_gaps import SECRET_ARN


def test_the_orchestrator_may_do_what_the_platform_does(account: Account) -> None:
    rights = account.rights(ORCHESTRATOR)
    assert [call for call in orchestrator_calls() if not allows(rights, *call)] == []


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        # Other people's jobs, models, data, tasks and roles.
        ("sagemaker:StopTrainingJob", f"arn:aws:sagemaker:{AWS}:training-job/somebody-elses-job", {}),
        ("sagemaker:CreateTrainingJob", f"arn:aws:sagemaker:{AWS}:training-job/crypto-1", {}),
        ("sagemaker:CreateEndpoint", f"arn:aws:sagemaker:{AWS}:endpoint/features-1", {}),
        ("sagemaker:CreateNotebookInstance", f"arn:aws:sagemaker:{AWS}:notebook-instance/features-1", {}),
        ("sagemaker:DeleteTrainingJob", f"arn:aws:sagemaker:{AWS}:training-job/gbm-model-2016-05-16-0a1b-a1", {}),
        ("s3:GetObject", "arn:aws:s3:::another-bucket/lake/x", {}),
        ("s3:PutObject", f"{LAKE}/landing/sales_train_evaluation.csv", {}),
        ("s3:DeleteObject", f"{LAKE}/landing/sales_train_evaluation.csv", {}),
        ("s3:DeleteObjectVersion", f"{LAKE}/lake/features/week=2016-05-16/manifest.json", {}),
        ("s3:GetObject", f"{LAKE}/deployments/x", {}),
        ("ssm:PutParameter", f"arn:aws:ssm:{AWS}:parameter/m5/prod/deployments", {}),
        ("s3:PutBucketPolicy", LAKE, {}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-stacks", TO_SAGEMAKER),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", TO_SAGEMAKER),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-job-gbm", TO_TASKS),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-job-gbm", {}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-orchestrator", TO_SAGEMAKER),
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-job-gbm", {}),
        ("ecs:RunTask", f"arn:aws:ecs:{AWS}:task-definition/other:1", IN_CLUSTER),
        ("ecs:RunTask", f"arn:aws:ecs:{AWS}:task-definition/m5-prod-run:7", {"ecs:cluster": "arn:aws:ecs:::cluster/x"}),
        ("ecs:StopTask", f"arn:aws:ecs:{AWS}:task/other/0a1b", {}),
        ("ecs:RegisterTaskDefinition", "*", {}),
        ("ecs:TagResource", f"arn:aws:ecs:{AWS}:task/m5-prod/0a1b", {}),
        ("secretsmanager:GetSecretValue", SECRET_ARN, {}),
        ("rds:DeleteDBInstance", f"arn:aws:rds:{AWS}:db:m5-prod", {}),
        ("logs:GetLogEvents", f"arn:aws:logs:{AWS}:log-group:/aws/rds/instance/x:log-stream:y", {}),
        ("quicksight:DeleteDataSet", f"arn:aws:quicksight:{AWS}:dataset/m5-forecast", {}),
        ("quicksight:CreateIngestion", f"arn:aws:quicksight:{AWS}:dataset/finance/ingestion/run-1", {}),
        ("sns:Publish", f"arn:aws:sns:{AWS}:other", {}),
    ],
)  # fmt: skip
def test_the_orchestrator_may_do_nothing_else(account: Account, action: str, resource: str, context: Context) -> None:
    assert not allows(account.rights(ORCHESTRATOR), action, resource, context)


def test_the_lakes_key_is_used_only_through_s3(account: Account) -> None:
    key = account.outputs("keys")["DataKeyArn"]
    for role in (ORCHESTRATOR, "m5-prod-job-features", "m5-prod-job-gbm"):
        rights = account.rights(role)
        assert allows(rights, "kms:Decrypt", key, BY_S3)
        assert allows(rights, "kms:GenerateDataKey", key, BY_S3)
        assert not allows(rights, "kms:Decrypt", key)
        assert not allows(rights, "kms:ScheduleKeyDeletion", key, BY_S3)


READS = {
    "features": ["raw_sales", "store_dept_sales", "sell_prices", "calendar", "features"],
    "gbm": ["features", "gbm_model", "gbm_predictions"],
    "lstm": ["features", "lstm_model", "lstm_predictions"],
    "totals": ["features", "totals_model", "totals_forecast"],
}
WRITES = {
    "features": ["features"],
    "gbm": ["gbm_model", "gbm_predictions"],
    "lstm": ["lstm_model", "lstm_predictions"],
    "totals": ["totals_model", "totals_forecast"],
}
DATASETS = sorted({name for names in (*READS.values(), *WRITES.values()) for name in names} | {"ensemble_forecast"})


@pytest.mark.parametrize("kind", sorted(READS))
def test_a_job_can_only_read_its_inputs_and_write_its_results(account: Account, kind: str) -> None:
    rights = account.rights(f"m5-prod-job-{kind}")
    keys = {name: f"{LAKE}/lake/{name}/week=2016-05-16/0a1b/file.parquet" for name in DATASETS}
    assert [name for name, key in keys.items() if allows(rights, "s3:GetObject", key)] == sorted(READS[kind])
    assert [name for name, key in keys.items() if allows(rights, "s3:PutObject", key)] == sorted(WRITES[kind])
    assert not any(allows(rights, "s3:DeleteObject", key) for key in keys.values())
    assert not allows(rights, "s3:GetObject", f"{LAKE}/landing/calendar.csv")
    assert allows(rights, "s3:ListBucket", LAKE, {"s3:prefix": "lake/features/"})
    assert not allows(rights, "s3:ListBucket", LAKE, {"s3:prefix": "landing/"})


@pytest.mark.parametrize("kind", sorted(READS))
def test_a_job_pulls_its_own_image_logs_and_reports_as_itself(account: Account, kind: str) -> None:
    rights = account.rights(f"m5-prod-job-{kind}")
    step = kind if kind == "features" else f"{kind}-model"
    other = "gbm-model" if kind != "gbm" else "lstm-model"
    for action in ("s3:GetObject", "s3:PutObject"):
        assert allows(rights, action, f"{LAKE}/lake/pipes/{step}-2016-05-16-0a1b-a1/messages/1.json")
        assert not allows(rights, action, f"{LAKE}/lake/pipes/{other}-2016-05-16-0a1b-a1/messages/1.json")
    repositories = {name: f"arn:aws:ecr:{AWS}:repository/m5-prod/{name}" for name in (*READS, "platform")}
    assert [n for n, arn in repositories.items() if allows(rights, "ecr:BatchGetImage", arn)] == [kind]
    assert allows(rights, "ecr:GetAuthorizationToken", "*")
    group = f"arn:aws:logs:{AWS}:log-group:/aws/sagemaker/TrainingJobs:log-stream:x"
    assert allows(rights, "logs:PutLogEvents", group)
    assert not allows(rights, "logs:DeleteLogGroup", group)
    assert allows(rights, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"})
    assert not allows(rights, "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/EC2"})
    for action in ("iam:PassRole", "sagemaker:CreateTrainingJob", "secretsmanager:GetSecretValue", "sts:AssumeRole"):
        assert not allows(rights, action, "*", TO_SAGEMAKER)


def test_a_job_creates_network_interfaces_only_in_its_subnets(account: Account) -> None:
    network = account.outputs("network")
    rights = account.rights("m5-prod-job-lstm")
    arn = f"arn:aws:ec2:{AWS}"
    for resource in (f"subnet/{network['PrivateSubnetA']}", f"security-group/{network['JobsSecurityGroupId']}"):
        assert allows(rights, "ec2:CreateNetworkInterface", f"{arn}:{resource}")
    for resource in ("subnet/subnet-1", f"security-group/{network['PlatformSecurityGroupId']}"):
        assert not allows(rights, "ec2:CreateNetworkInterface", f"{arn}:{resource}")
    mine, other = ({"ec2:Vpc": f"{arn}:vpc/{vpc}"} for vpc in (network["VpcId"], "vpc-1"))
    assert allows(rights, "ec2:DeleteNetworkInterface", f"{arn}:network-interface/eni-1", mine)
    assert not allows(rights, "ec2:DeleteNetworkInterface", f"{arn}:network-interface/eni-1", other)


def test_ecs_can_only_start_tasks_with_the_databases_passwords(account: Account) -> None:
    rights = account.rights("m5-prod-execution")
    assert allows(rights, "secretsmanager:GetSecretValue", SECRET_ARN)
    for role in ("Reader", "Writer", "Dagster"):
        assert allows(rights, "secretsmanager:GetSecretValue", account.outputs("database")[f"{role}SecretArn"])
    assert not allows(rights, "secretsmanager:GetSecretValue", SECRET_ARN.replace("rds!db-1234", "other"))
    assert allows(rights, "ecr:BatchGetImage", f"arn:aws:ecr:{AWS}:repository/m5-prod/platform")
    assert not allows(rights, "ecr:BatchGetImage", f"arn:aws:ecr:{AWS}:repository/m5-prod/gbm")
    assert not allows(rights, "s3:GetObject", f"{LAKE}/lake/x")


def test_the_dashboards_role_connects_and_reads_no_data(account: Account) -> None:
    rights = account.rights("m5-prod-dashboards")
    subnet = account.outputs("network")["PrivateSubnetA"]
    assert allows(rights, "ec2:CreateNetworkInterface", f"arn:aws:ec2:{AWS}:subnet/{subnet}")
    assert not allows(rights, "ec2:CreateNetworkInterface", f"arn:aws:ec2:{AWS}:subnet/subnet-1")
    assert not allows(rights, "s3:GetObject", f"{LAKE}/lake/x")
    assert not allows(rights, "secretsmanager:GetSecretValue", SECRET_ARN)


def test_a_workflow_can_deploy_but_not_change_who_may_deploy(account: Account) -> None:
    rights = account.rights("m5-prod-deploy")
    stack = f"arn:aws:cloudformation:{AWS}:stack/m5-prod-%s/0a1b"
    assert allows(rights, "cloudformation:ExecuteChangeSet", stack % "database")
    for part in ("delivery", "keys", "lake"):
        assert allows(rights, "cloudformation:CreateChangeSet", stack % part)  # shown, by a plan
        assert not allows(rights, "cloudformation:ExecuteChangeSet", stack % part)
        assert not allows(rights, "cloudformation:DeleteStack", stack % part)
    assert not allows(rights, "cloudformation:ExecuteChangeSet", f"arn:aws:cloudformation:{AWS}:stack/other/0a1b")
    to_cloudformation = {"iam:PassedToService": "cloudformation.amazonaws.com"}
    assert allows(rights, "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-stacks", to_cloudformation)
    assert not allows(rights, "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", to_cloudformation)
    assert allows(rights, "ecr:PutImage", f"arn:aws:ecr:{AWS}:repository/m5-prod/gbm")
    assert allows(rights, "ssm:PutParameter", f"arn:aws:ssm:{AWS}:parameter/m5/prod/deployments")
    assert not allows(rights, "ssm:PutParameter", f"arn:aws:ssm:{AWS}:parameter/m5/dev/deployments")
    assert not allows(rights, "s3:GetObject", f"{LAKE}/lake/x")
    trust = account.trust("m5-prod-deploy")["Statement"][0]
    assert trust["Condition"]["StringEquals"]["token.actions.githubusercontent.com:sub"] == (
        "repo:example/m5-assets:environment:prod"
    )


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("kms:CreateKey", "*"),
        ("kms:DisableKey", "key"),
        ("kms:PutKeyPolicy", "key"),
        ("kms:ScheduleKeyDeletion", "key"),
        ("kms:DeleteAlias", f"arn:aws:kms:{AWS}:alias/m5-prod-data"),
        ("kms:UpdateAlias", f"arn:aws:kms:{AWS}:alias/m5-prod-data"),
        ("s3:GetObject", f"{LAKE}/lake/x"),
        ("s3:PutObject", f"{LAKE}/lake/x"),
        ("s3:DeleteBucket", LAKE),
        ("s3:PutBucketPolicy", LAKE),
        ("s3:PutBucketPolicy", "arn:aws:s3:::another-bucket"),
        ("s3:PutReplicationConfiguration", LAKE),
    ],
)
def test_no_template_reaches_keys_and_buckets(account: Account, action: str, resource: str) -> None:
    key = account.outputs("keys")["DataKeyArn"]
    context = {"aws:RequestedRegion": "us-east-1", "kms:ResourceAliases": "alias/m5-prod-data"}
    assert not allows(account.rights("m5-prod-stacks"), action, key if resource == "key" else resource, context)


def test_cloudformation_lets_services_encrypt_with_the_platforms_keys_alone(account: Account) -> None:
    rights, key = account.rights("m5-prod-stacks"), account.outputs("keys")["DataKeyArn"]
    ours, others = ({"kms:ResourceAliases": f"alias/{name}"} for name in ("m5-prod-data", "finance"))
    for_a_service = {"kms:GrantIsForAWSResource": "true"}
    assert allows(rights, "kms:GenerateDataKey", key, ours)
    assert not allows(rights, "kms:GenerateDataKey", key, others)
    assert allows(rights, "kms:CreateGrant", key, {**ours, **for_a_service})
    assert not allows(rights, "kms:CreateGrant", key, ours)
    assert not allows(rights, "kms:CreateGrant", key, {**others, **for_a_service})


def test_sessions_are_encrypted_and_logged(account: Account) -> None:
    rights, key = account.rights(ORCHESTRATOR), account.outputs("keys")["LogsKeyArn"]
    assert allows(rights, "kms:Decrypt", key, {"kms:ResourceAliases": "alias/m5-prod-logs"})
    assert allows(rights, "logs:DescribeLogGroups", "*")
    sessions = f"arn:aws:logs:{AWS}:log-group:/m5/prod/sessions"
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        assert any(allows(rights, action, f"{sessions}{end}") for end in ("", ":*", ":log-stream:x"))
    assert not allows(rights, "logs:DeleteLogStream", f"{sessions}:log-stream:x")


BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/m5-prod-boundary"


def test_cloudformation_creates_only_the_platforms_roles_within_the_boundary(account: Account) -> None:
    rights = account.rights("m5-prod-stacks")
    region = {"aws:RequestedRegion": "us-east-1"}
    role = f"arn:aws:iam::{ACCOUNT}:role/%s"
    for action in ("CreateRole", "PutRolePolicy", "PutRolePermissionsBoundary"):
        within = {**region, "iam:PermissionsBoundary": BOUNDARY}
        assert allows(rights, f"iam:{action}", role % "m5-prod-job-gbm", within)
        other = {**region, "iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}
        assert not allows(rights, f"iam:{action}", role % "m5-prod-job-gbm", other)
        assert not allows(rights, f"iam:{action}", role % "m5-prod-job-gbm", region)
        for name in ("Admin", "m5-prod-deploy", "m5-prod-stacks"):
            assert not allows(rights, f"iam:{action}", role % name, within)
    for action in ("DeleteRolePermissionsBoundary", "AttachRolePolicy"):
        assert not allows(rights, f"iam:{action}", role % "m5-prod-job-gbm", {"iam:PermissionsBoundary": BOUNDARY})
    for action in ("CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicy"):
        assert not allows(rights, f"iam:{action}", BOUNDARY, region)
    assert allows(rights, "rds:CreateDBInstance", f"arn:aws:rds:{AWS}:db:m5-prod", region)
    assert not allows(rights, "rds:CreateDBInstance", f"arn:aws:rds:{AWS}:db:m5-prod", {"aws:RequestedRegion": "x"})
    for action in (
        "iam:CreateUser",
        "iam:CreateAccessKey",
        "sagemaker:CreateTrainingJob",
        "organizations:LeaveOrganization",
    ):
        assert not allows(rights, action, "*", region)


def test_every_role_except_the_deploying_ones_has_the_boundary(account: Account) -> None:
    iam = boto3.client("iam")
    roles = [role["RoleName"] for role in iam.list_roles()["Roles"] if role["RoleName"].startswith("m5-prod-")]
    bounded = {
        name: iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        for name in roles
    }
    assert len(bounded) == 10
    assert {name for name, arn in bounded.items() if arn != BOUNDARY} == {"m5-prod-deploy", "m5-prod-stacks"}


def test_the_boundary_limits_a_role_with_all_rights_to_the_platforms_rights(account: Account) -> None:
    everything = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    boundary = account.rights(ORCHESTRATOR).boundary
    rights = Rights([everything], boundary)
    assert [call for call in orchestrator_calls() if not allows(rights, *call)] == []
    for action, resource, context in (
        ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-x", {"iam:PermissionsBoundary": BOUNDARY}),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/m5-prod-stacks", TO_TASKS),
        ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", {}),
        ("cloudformation:CreateStack", f"arn:aws:cloudformation:{AWS}:stack/m5-prod-x/1", {}),
        ("s3:GetObject", "arn:aws:s3:::another-bucket/x", {}),
        ("s3:PutBucketPolicy", LAKE, {}),
        ("s3:PutObject", f"{LAKE}/deployments/x", {}),
        ("ssm:PutParameter", f"arn:aws:ssm:{AWS}:parameter/m5/prod/deployments", {}),
        ("rds:ModifyDBInstance", f"arn:aws:rds:{AWS}:db:m5-prod", {}),
        ("kms:ScheduleKeyDeletion", account.outputs("keys")["DataKeyArn"], BY_S3),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{AWS}:secret:another", {}),
        ("ecr:PutImage", f"arn:aws:ecr:{AWS}:repository/m5-prod/gbm", {}),
        ("ecs:RegisterTaskDefinition", "*", {}),
        ("sagemaker:CreateNotebookInstance", f"arn:aws:sagemaker:{AWS}:notebook-instance/x", {}),
    ):
        assert not allows(rights, action, resource, context), action
    # The limit is 6,144 characters without white space: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert (
        len(json.dumps(boundary, separators=(",", ":"))) <= 6144 - 500
    )  # room for longer region and environment names


def test_no_policy_exceeds_the_boundary(account: Account) -> None:
    """An action that is not in the boundary has no effect in a policy."""
    for role in boto3.client("iam").list_roles()["Roles"]:
        rights = account.rights(role["RoleName"])
        if rights.boundary is not None:
            assert _actions(rights.policies) - _actions([rights.boundary]) == set(), role["RoleName"]


def _actions(documents: Sequence[Mapping[str, Any]]) -> set[str]:
    named = [statement["Action"] for document in documents for statement in document["Statement"]]
    return {action for entry in named for action in ([entry] if isinstance(entry, str) else entry)}


@pytest.mark.parametrize(
    ("role", "service"),
    [
        *[(f"m5-prod-job-{kind}", "sagemaker.amazonaws.com") for kind in sorted(READS)],
        ("m5-prod-orchestrator", "ecs-tasks.amazonaws.com"),
        ("m5-prod-execution", "ecs-tasks.amazonaws.com"),
        ("m5-prod-dashboards", "quicksight.amazonaws.com"),
        ("m5-prod-flow-logs", "vpc-flow-logs.amazonaws.com"),
        ("m5-prod-stacks", "cloudformation.amazonaws.com"),
    ],
)
def test_a_role_is_assumed_only_by_its_service_for_this_account(account: Account, role: str, service: str) -> None:
    [statement] = account.trust(role)["Statement"]
    assert statement["Principal"] == {"Service": service}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_every_wildcard_resource_has_a_reason() -> None:
    bare = []
    for path in sorted((INFRASTRUCTURE / "stacks").glob("*.yaml")):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r'Resource: "\*"', line):
                block = "\n".join(lines[max(0, number - 5) : number + 1])
                # In a key policy, "*" is the key itself, in an endpoint's what it lets through; both say so once.
                if "#" not in block and path.stem not in ("keys", "network"):
                    bare.append(f"{path.name}:{number + 1}")
    assert bare == []
