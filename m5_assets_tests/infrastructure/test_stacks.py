"""Tests of the templates: the linter passes, all stacks can be created in order, and their resources are safe."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from m5_assets.model_specs import JOB_KINDS
from m5_assets_tests.infrastructure.conftest import (
    ACCOUNT,
    INFRASTRUCTURE,
    TAGS,
    Account,
    create_all,
    environment,
    stacks_of,
    template_of,
)
from m5_assets_tests.support.iam_policies import Rights, allows

TEMPLATES = sorted((INFRASTRUCTURE / "stacks").glob("*.yaml"))
LEFT_OUT_BY_MOTO = {
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::IAM::OIDCProvider",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
}
"""Types that moto's CloudFormation does not support: linted and checked as text, but not created."""


def resources(part: str) -> dict[str, Any]:
    found: dict[str, Any] = template_of(INFRASTRUCTURE / "stacks" / f"{part}.yaml")["Resources"]
    return found


def test_the_linter_passes_with_all_rules() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, "-c", "I", "-t", *TEMPLATES], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_guide_names_existing_stacks_and_outputs(account: Account) -> None:
    text = (INFRASTRUCTURE.parent / "docs/aws.md").read_text()
    of_network = set(re.findall(r"\$\(out (\w+)\)", text))
    assert {"PrivateSubnetA", "DashboardsSecurityGroupId"} <= of_network <= set(account.outputs("network"))
    for part, line in re.findall(r"--stack-name m5-\$E-(\w+) (.*)", text):
        for key in re.findall(r"OutputKey=='(\w+)'", line):
            assert key in account.outputs(part)
    assert set(re.findall(r"--task-definition m5-\$E-(\w+)", text)) == {"run"}
    listed = text[text.index("## What is created") : text.index("Choices, and why")]
    named = {
        name for row in re.findall(r"^\| (`[^|]+) \|", listed, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)
    }
    assert named == {stack.part for stack in account.stacks}


def test_every_job_kind_has_a_stack() -> None:
    kinds = [stack.parameters["Kind"] for stack in stacks_of("prod") if stack.template.stem == "job"]
    assert kinds == list(JOB_KINDS)


def test_every_template_belongs_to_a_stack() -> None:
    assert {stack.template for stack in stacks_of("prod")} == set(TEMPLATES)


def test_every_stack_of_production_is_created_with_its_outputs(account: Account) -> None:
    for stack in account.stacks:
        assert account.stack(stack.part)["StackStatus"] == "CREATE_COMPLETE"
        declared = template_of(stack.template)
        assert set(account.outputs(stack.part)) | _outputs_of_absent(declared) == set(declared.get("Outputs", {}))


def test_moto_skips_only_the_listed_types(account: Account) -> None:
    left_out = set()
    for stack in account.stacks:
        declared = template_of(stack.template)["Resources"]
        for name in set(declared) - account.resources(stack.part):
            spec = declared[name]
            conditions = {"IsService": stack.part != "run", "IsCode": stack.part == "code", "HasEgress": True}
            if conditions.get(spec.get("Condition", ""), True):
                left_out.add(spec["Type"])
    assert left_out == LEFT_OUT_BY_MOTO


def test_development_is_created_next_to_production_without_internet_access(account: Account) -> None:
    stacks = stacks_of("dev")
    create_all(stacks)
    dev = Account(stacks)
    assert {"NatGateway", "InternetGateway", "PublicSubnet"} & dev.resources("network") == set()
    assert {"NatGateway", "InternetGateway", "PublicSubnet"} <= account.resources("network")
    vpcs = {entry["CidrBlock"] for entry in boto3.client("ec2").describe_vpcs()["Vpcs"]}
    assert {"10.80.0.0/16", "10.81.0.0/16"} <= vpcs


def test_private_subnets_assign_no_public_addresses_and_reach_s3_by_a_gateway(account: Account) -> None:
    ec2 = boto3.client("ec2")
    network = account.outputs("network")
    subnets = ec2.describe_subnets(SubnetIds=[network["PrivateSubnetA"], network["PrivateSubnetB"]])["Subnets"]
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2
    found = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [network["VpcId"]]}])["VpcEndpoints"]
    services = {entry["ServiceName"].removeprefix("com.amazonaws.us-east-1."): entry for entry in found}
    assert set(services) == {
        "s3", "ecr.api", "ecr.dkr", "logs", "sagemaker.api", "secretsmanager", "sts", "ecs", "ec2", "sns", "kms",
        "ssmmessages",
    }  # fmt: skip
    assert services.pop("s3")["VpcEndpointType"] == "Gateway"
    assert {entry["VpcEndpointType"] for entry in services.values()} == {"Interface"}
    assert all(len(entry["SubnetIds"]) == 2 for entry in services.values())


def test_only_the_platform_and_the_dashboards_reach_the_database(account: Account) -> None:
    network = account.outputs("network")
    [group] = boto3.client("ec2").describe_security_groups(GroupIds=[network["DatabaseSecurityGroupId"]])[
        "SecurityGroups"
    ]
    sources = {pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]}
    assert sources == {network["PlatformSecurityGroupId"], network["DashboardsSecurityGroupId"]}
    assert not any(rule["IpRanges"] for rule in group["IpPermissions"])


def test_no_security_group_is_open_to_the_world() -> None:
    for name, spec in resources("network").items():
        if spec["Type"] == "AWS::EC2::SecurityGroup":
            for rule in spec["Properties"].get("SecurityGroupIngress", ()):
                assert rule.get("CidrIp") != "0.0.0.0/0", name


OURS = {"aws:PrincipalAccount": ACCOUNT, "aws:ResourceAccount": ACCOUNT}


def endpoint_policies(account: Account) -> dict[str, Rights]:
    """Return the policy of each endpoint by its service. `Principal` is "*" in all: conditions name the account."""
    vpc = account.outputs("network")["VpcId"]
    found = boto3.client("ec2").describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["VpcEndpoints"]
    policies = {}
    for entry in found:
        document = ast.literal_eval(entry["PolicyDocument"])  # moto returns a Python dictionary's text
        assert all(statement.pop("Principal") == "*" for statement in document["Statement"])
        policies[entry["ServiceName"].removeprefix("com.amazonaws.us-east-1.")] = Rights([document])
    return policies


def test_no_endpoint_lets_data_out_with_foreign_credentials_or_to_foreign_resources(account: Account) -> None:
    policies = endpoint_policies(account)
    assert len(policies) == 12
    for service, rights in policies.items():
        name = service.partition(".")[0]
        assert allows(rights, f"{name}:PutSomething", "arn:aws:any:::thing", OURS), service
        for key in OURS:
            assert not allows(rights, f"{name}:PutSomething", "arn:aws:any:::thing", {**OURS, key: "9" * 12}), service
        assert not allows(rights, f"{name}:PutSomething", "arn:aws:any:::thing"), service  # nobody's credentials
    assert not allows(policies["s3"], "s3:PutObject", "arn:aws:s3:::b/k", {"aws:PrincipalAccount": ACCOUNT})
    # GetCallerIdentity is about no resource.
    assert allows(policies["sts"], "sts:GetCallerIdentity", "*", {"aws:PrincipalAccount": ACCOUNT})


def test_layers_of_images_are_read_from_the_registrys_bucket(account: Account) -> None:
    rights, theirs = endpoint_policies(account)["s3"], {"aws:PrincipalAccount": "9" * 12}
    assert allows(rights, "s3:GetObject", "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/layer", theirs)
    assert not allows(rights, "s3:PutObject", "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/layer", theirs)
    assert not allows(rights, "s3:GetObject", "arn:aws:s3:::prod-us-east-1-starport-layer-bucket-x/layer", theirs)


def test_jobs_reach_the_endpoints_and_s3_alone_even_where_there_is_a_way_to_the_internet() -> None:
    found = resources("network")
    inside, s3 = {"Fn::Sub": "${VpcPrefix}.0.0/16"}, {"Ref": "S3PrefixList"}
    jobs = found["JobsSecurityGroup"]["Properties"]["SecurityGroupEgress"]
    assert [(rule.get("CidrIp"), rule.get("DestinationPrefixListId")) for rule in jobs] == [(inside, None), (None, s3)]
    assert {(rule["FromPort"], rule["ToPort"]) for rule in jobs} == {(443, 443)}
    everywhere = {
        name: spec.get("Condition")
        for name, spec in found.items()
        if "SecurityGroup" in spec["Type"] and "0.0.0.0/0" in str(spec["Properties"])
    }
    assert everywhere == {"PlatformToInternet": "HasEgress"}
    assert found["PlatformToInternet"]["Properties"]["GroupId"] == {"Ref": "PlatformSecurityGroup"}


def test_only_the_webserver_admits_sessions_and_they_are_logged() -> None:
    service = resources("service")["Runner"]["Properties"]
    assert service["EnableExecuteCommand"] == {"Fn::If": ["IsEntrance", True, False]}
    conditions = template_of(INFRASTRUCTURE / "stacks/service.yaml")["Conditions"]
    assert conditions["IsEntrance"] == {"Fn::Equals": [{"Ref": "Service"}, "webserver"]}
    sessions = resources("platform")["Cluster"]["Properties"]["Configuration"]["ExecuteCommandConfiguration"]
    assert sessions["KmsKeyId"] == {"Fn::ImportValue": {"Fn::Sub": "m5-${Environment}-LogsKeyArn"}}
    assert sessions["Logging"] == "OVERRIDE"
    assert sessions["LogConfiguration"] == {
        "CloudWatchLogGroupName": {"Ref": "Sessions"},
        "CloudWatchEncryptionEnabled": True,
    }


def test_the_lake_is_encrypted_versioned_private_logged_and_expires(account: Account) -> None:
    s3 = boto3.client("s3")
    bucket = account.outputs("lake")["LakeBucket"]
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {
        "SSEAlgorithm": "aws:kms",
        "KMSMasterKeyID": account.outputs("keys")["DataKeyArn"],
    }
    # moto does not store the rest.
    properties = resources("lake")["Lake"]["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert all(properties["PublicAccessBlockConfiguration"].values())
    rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert rules["old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == {"Ref": "OldVersionDays"}
    # Files of a forecast in force never expire.
    assert {rule["Prefix"] for rule in rules.values() if "ExpirationInDays" in rule} == {"lake/pipes/", "dagster/"}
    assert properties["LoggingConfiguration"]["DestinationBucketName"] == {"Ref": "AccessLogs"}


@pytest.mark.parametrize("policy", ["LakePolicy", "AccessLogsPolicy"])
def test_buckets_reject_requests_without_tls(policy: str) -> None:
    statements = resources("lake")[policy]["Properties"]["PolicyDocument"]["Statement"]
    [tls] = [statement for statement in statements if statement["Sid"] == "TlsOnly"]
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(tls["Resource"]) == 2  # the bucket and its objects


def test_the_database_is_private_encrypted_backed_up_and_protected(account: Account) -> None:
    rds = boto3.client("rds")
    [database] = rds.describe_db_instances(DBInstanceIdentifier="m5-prod")["DBInstances"]
    assert database["StorageEncrypted"]
    assert not database["PubliclyAccessible"]
    assert database["MultiAZ"]
    assert database["BackupRetentionPeriod"] == 14
    assert environment("prod").parameters["DatabaseDeletionProtection"] == "true"
    properties = resources("database")
    assert properties["Database"]["Properties"]["DeletionProtection"] == {"Ref": "DatabaseDeletionProtection"}
    assert properties["ParametersOfPostgres"]["Properties"]["Parameters"]["rds.force_ssl"] == "1"
    assert properties["Database"]["Properties"]["ManageMasterUserPassword"] is True
    assert properties["Database"]["DeletionPolicy"] == "Snapshot"
    assert "MasterUserPassword" not in properties["Database"]["Properties"]


def test_images_are_scanned_and_their_tags_are_immutable(account: Account) -> None:
    ecr = boto3.client("ecr")
    found = {
        entry["repositoryName"]: entry
        for entry in ecr.describe_repositories()["repositories"]
        if entry["repositoryName"].startswith("m5-prod/")
    }
    assert set(found) == {f"m5-prod/{name}" for name in TAGS}
    assert {repository["imageTagMutability"] for repository in found.values()} == {"IMMUTABLE"}
    for part in ("job", "platform"):
        properties = resources(part)["Repository"]["Properties"]
        assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
        [rule] = json.loads(properties["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert rule["selection"]["countNumber"] == 30


def test_resources_with_data_survive_their_stack() -> None:
    kinds = {"AWS::S3::Bucket", "AWS::KMS::Key", "AWS::RDS::DBInstance", "AWS::ECR::Repository"}
    kept = {"Retain", "RetainExceptOnCreate", "Snapshot"}
    for path in TEMPLATES:
        for name, spec in resources(path.stem).items():
            if spec["Type"] in kinds:
                assert spec["DeletionPolicy"] in kept, f"{path.stem}: {name}"
                assert spec["UpdateReplacePolicy"] in kept, f"{path.stem}: {name}"


def test_every_log_group_is_encrypted_and_expires() -> None:
    for path in TEMPLATES:
        for name, spec in resources(path.stem).items():
            if spec["Type"] == "AWS::Logs::LogGroup":
                assert {"RetentionInDays", "KmsKeyId"} <= set(spec["Properties"]), f"{path.stem}: {name}"


def test_alarms_have_a_recipient() -> None:
    topic = [{"Fn::ImportValue": {"Fn::Sub": "m5-${Environment}-AlertsTopicArn"}}]
    alarms = [
        spec["Properties"]
        for path in TEMPLATES
        for spec in resources(path.stem).values()
        if spec["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert len(alarms) == 5
    assert all(alarm["AlarmActions"] == topic for alarm in alarms)
    subscription = resources("alerts")["Subscription"]["Properties"]
    assert subscription["Endpoint"] == {"Ref": "AlertEmail"}


def test_two_daemons_never_run_at_once(account: Account) -> None:
    [service] = boto3.client("ecs").describe_services(cluster="m5-prod", services=["daemon"])["services"]
    assert service["desiredCount"] == 1
    deployment = resources("service")["Runner"]["Properties"]["DeploymentConfiguration"]
    assert deployment["MaximumPercent"] == {"Fn::If": ["IsDaemon", 100, 200]}
    assert deployment["MinimumHealthyPercent"] == {"Fn::If": ["IsDaemon", 0, 100]}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_parameters_are_complete_and_all_known(name: str) -> None:
    declared = {stack.part: template_of(stack.template)["Parameters"] for stack in stacks_of(name)}
    for stack in stacks_of(name):
        assert set(declared[stack.part]) - set(stack.parameters) == set()
        assert stack.parameters["Environment"] == name
    assert set(environment(name).parameters) - set().union(*declared.values()) == set()


def test_no_parameter_has_a_default() -> None:
    """A default would have no effect: `aws cloudformation deploy` keeps the previous value of an omitted parameter."""
    for path in TEMPLATES:
        parameters = template_of(path)["Parameters"]
        assert [name for name, declared in parameters.items() if "Default" in declared] == [], path.name


def test_templates_fit_into_a_request() -> None:
    # 51,200 bytes: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    assert [path.name for path in TEMPLATES if path.stat().st_size > 51_200] == []


def _outputs_of_absent(declared: dict[str, Any]) -> set[str]:
    absent = {name for name, spec in declared["Resources"].items() if spec["Type"] in LEFT_OUT_BY_MOTO}
    return {name for name, spec in declared.get("Outputs", {}).items() if spec["Value"].get("Ref") in absent}
