"""`m5 deploy` against a moto server: what is shown, asked, done, refused and undone."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from m5_assets.cli.main import cli
from m5_assets.errors import UserError
from m5_assets.extras.deployment import Change, Deployment, Environment, Release, StackPlan
from m5_assets.extras.deployment import command as dialogue
from m5_assets.extras.deployment.changes import plan_stack
from m5_assets.extras.deployment.execution import StackFailed, execute
from m5_assets.extras.deployment.releases import Stack
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import JobSettings
from m5_assets_tests.infrastructure.conftest import ACCOUNT, Checkout, engine_calls


def deployment(checkout: Checkout) -> Deployment:
    source = Environment.load(checkout.environment, checkout.root / "infrastructure" / "environments")
    return Deployment(source, checkout.root, poll_seconds=0.01)


def deploy(checkout: Checkout, answer: str = "", **options: bool) -> str:
    """Run the dialogue with an answer typed in; return what it printed."""
    chosen = {"only_plan": False, "yes": False, "undo": False, **options}
    with CliRunner().isolation(input=answer) as streams:
        dialogue.run(checkout.environment, checkout=checkout.root, poll_seconds=0.01, **chosen)
        return streams[0].getvalue().decode()


def stacks(checkout: Checkout) -> dict[str, str]:
    found = boto3.client("cloudformation").describe_stacks()["Stacks"]
    prefix = f"m5-{checkout.environment}-"
    return {s["StackName"]: s["StackStatus"] for s in found if s["StackName"].startswith(prefix)}


def time_zone(checkout: Checkout) -> str:
    """Return the parameter with which the run task was last changed."""
    found = boto3.client("cloudformation").describe_stacks(StackName=f"m5-{checkout.environment}-run")["Stacks"][0]
    return next(str(entry["ParameterValue"]) for entry in found["Parameters"] if entry["ParameterKey"] == "TimeZone")


def test_a_plan_shows_everything_and_changes_nothing(checkout: Checkout) -> None:
    shown = deploy(checkout, only_plan=True)
    assert f"m5-{checkout.environment}-lake: new" in shown
    assert "+ Database (AWS::RDS::DBInstance)" in shown
    order = [shown.index(f"m5-{checkout.environment}-{part}: new") for part in ("network", "database", "run")]
    assert order == sorted(order)
    assert stacks(checkout) == {}
    assert engine_calls() == []


def test_no_is_no(checkout: Checkout) -> None:
    shown = deploy(checkout, answer="n\n")
    assert "Deploy this?" in shown
    assert shown.endswith("Nothing was changed.\n")
    assert stacks(checkout) == {}


def test_a_life_of_deployments(checkout: Checkout, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="m5")
    # From an empty account: images are built first and pushed once their repositories are there.
    assert "is at release" in deploy(checkout, answer="y\n")
    assert set(stacks(checkout).values()) == {"CREATE_COMPLETE"}
    assert len(stacks(checkout)) == 16
    calls = engine_calls()
    assert [call.split()[0] for call in calls if call != "info"] == ["build"] * 6 + ["login"] + ["push"] * 5
    steps = [text for text in caplog.messages if " of 16: " in text or text.startswith("pushing")]
    assert [n for n, text in enumerate(steps) if text.startswith("pushing")] == [12, 13, 14, 15, 16]
    assert steps[11].endswith("-dashboards")
    assert steps[17].endswith("-run")

    # Again: nothing to build, nothing to change.
    shown = deploy(checkout, yes=True)
    assert shown.count(": unchanged") == 16
    assert engine_calls() == []

    # A change of one parameter is seen, and undone; an undo is undone by another.
    checkout.write_environment(TimeZone="Asia/Tokyo")
    shown = deploy(checkout, yes=True)
    assert (shown.count(": unchanged"), shown.count("changes of resources")) == (12, 4)
    assert time_zone(checkout) == "Asia/Tokyo"
    assert ": back to" in deploy(checkout, yes=True, undo=True)
    assert time_zone(checkout) == "UTC"
    deploy(checkout, yes=True, undo=True)
    assert time_zone(checkout) == "Asia/Tokyo"
    assert engine_calls() == []

    # One that began and never ended, as when its process was killed, is what is gone back from, never to.
    checkout.write_environment(TimeZone="Mars/Olympus")
    killed = deployment(checkout)
    killed._records.begin(killed.current())
    assert [s.parameters["TimeZone"] for s in killed.previous().stacks if s.part == "run"] == ["Asia/Tokyo"]

    # An image that is gone is named before anything is changed.
    tag = killed.previous().tags["gbm"]
    boto3.client("ecr").batch_delete_image(
        repositoryName=f"m5-{checkout.environment}/gbm", imageIds=[{"imageTag": tag}]
    )
    with pytest.raises(UserError, match=f"gbm:{tag}"):
        deploy(checkout, yes=True, undo=True)


def test_there_is_nothing_to_go_back_to_at_first(checkout: Checkout) -> None:
    with pytest.raises(UserError, match="nothing to go back to"):
        deploy(checkout, undo=True)


def test_another_accounts_credentials_are_refused(checkout: Checkout) -> None:
    checkout.write_environment(account="999999999999")
    with pytest.raises(UserError, match=f"account {ACCOUNT}, but environment .* belongs to 999999999999"):
        deploy(checkout)


def test_without_credentials_the_remedy_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(checkout.root / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(UserError, match=f"Unable to locate credentials.*account {ACCOUNT}.*AWS_PROFILE"):
        deploy(checkout, only_plan=True)


def test_a_service_that_does_not_answer_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=r"could not be reached: .*127\.0\.0\.1:1.*same command again"):
        deploy(checkout, only_plan=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "account, region and parameters"),
        ('{"account": "1", "region": "r", "parameters": {}}', "twelve digits"),
        ('{"account": "1", "region": "r", "parameters": {"A": 1}}', "in quotes: A"),
    ],
)
def test_a_broken_environment_file_is_named(checkout: Checkout, content: str, words: str) -> None:
    path = checkout.write_environment()
    path.write_text(content)
    with pytest.raises(UserError, match=words) as problem:
        deploy(checkout)
    assert str(path) in str(problem.value)


def test_an_unknown_environment_is_answered_with_those_there_are(checkout: Checkout) -> None:
    with pytest.raises(UserError, match=f"no environment 'prd'; there are: {checkout.environment}"):
        Environment.load("prd", checkout.root / "infrastructure" / "environments")


def test_the_command_line_reaches_it(server: str) -> None:
    done = CliRunner().invoke(cli, ["deploy", "--environment", "nowhere"])
    assert "there are: dev, prod" in str(done.exception)


def test_without_an_engine_nothing_is_begun(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="neither docker nor podman"):
        deploy(checkout, yes=True)
    assert stacks(checkout) == {}


def test_a_build_that_fails_says_why(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\n[ $1 = info ] || { echo no space left >&2; exit 7; }\n")
    with pytest.raises(UserError, match=r"docker build failed with 7:\nno space left"):
        deploy(checkout, yes=True)
    assert stacks(checkout) == {}


def test_a_tag_names_what_goes_into_the_image(checkout: Checkout) -> None:
    before = deployment(checkout).current().tags
    local = SageMakerJobs(
        home=str(checkout.root), lake=Lake(root=str(checkout.root)), job_settings=JobSettings(mode="local")
    ).image("gbm")
    assert before["gbm"].startswith(local.rpartition(":")[2] + "-")
    with (checkout.root / "constraints.txt").open("a") as constraints:
        constraints.write("# a newer package\n")
    after = deployment(checkout).current().tags
    assert all(before[name] != after[name] for name in before)
    with (checkout.root / "infrastructure" / "dagster.yaml").open("a") as instance:
        instance.write("# another setting\n")
    last = deployment(checkout).current().tags
    assert [name for name in after if after[name] != last[name]] == ["platform"]


# What moto cannot do: changes that replace, and stacks that fail. AWS's answers, in the shapes of its own model.

STACK = Stack("m5-test-database", "database", "Resources: {}", {"Environment": "test"})
ARN = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:changeSet/m5-1/{uuid.UUID(int=1)}"


def _status(status: str) -> dict[str, Any]:
    return {"Stacks": [{"StackName": STACK.name, "StackStatus": status, "CreationTime": "2026-01-01T00:00:00Z"}]}


def _event(number: int, resource: str, status: str, reason: str = "") -> dict[str, Any]:
    return {
        "StackId": "s",
        "EventId": str(number),
        "StackName": STACK.name,
        "Timestamp": f"2026-01-01T00:00:0{number}Z",
        "LogicalResourceId": resource,
        "ResourceType": "AWS::RDS::DBInstance",
        "ResourceStatus": status,
        **({"ResourceStatusReason": reason} if reason else {}),
    }


@pytest.fixture
def aws(server: str) -> Iterator[Stubber]:
    with Stubber(boto3.client("cloudformation")) as stubber:
        yield stubber


def test_a_replaced_database_is_shown_and_not_covered_by_yes(aws: Stubber) -> None:
    aws.add_response("describe_stacks", _status("UPDATE_COMPLETE"))
    aws.add_response("create_change_set", {"Id": ARN})
    change = {
        "Action": "Modify",
        "LogicalResourceId": "Database",
        "ResourceType": "AWS::RDS::DBInstance",
        "Replacement": "True",
        "Details": [{"Target": {"Attribute": "Properties", "Name": "DBInstanceIdentifier"}}],
    }
    described = {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": change}]}
    aws.add_response("describe_change_set", described)
    aws.add_response("describe_change_set", described)
    plan = plan_stack(aws.client, STACK, None, 0.01)
    assert list(plan.lines()) == [
        "m5-test-database: 1 changes of resources",
        "  ~ Database (AWS::RDS::DBInstance): DBInstanceIdentifier  REPLACED  HOLDS DATA",
    ]
    with pytest.raises(UserError, match="--yes does not cover"):
        dialogue._agreed([plan], yes=True)
    for answer, agreed in (("lose\n", True), ("y\n", False), ("\n", False)):
        with CliRunner().isolation(input=answer):
            assert dialogue._agreed([plan], yes=False) is agreed


def test_a_failure_names_its_first_cause_first(aws: Stubber) -> None:
    plan = StackPlan(STACK, None, (Change("Modify", "Database", "AWS::RDS::DBInstance"),), ARN)
    old = _event(0, STACK.name, "CREATE_COMPLETE")
    failed = [
        _event(4, STACK.name, "UPDATE_ROLLBACK_COMPLETE"),
        _event(3, "Subnets", "UPDATE_FAILED", "Resource update cancelled"),
        _event(2, "Database", "UPDATE_FAILED", "db.t9.huge is not a class of the region"),
        _event(1, STACK.name, "UPDATE_IN_PROGRESS"),
    ]
    aws.add_response("describe_stack_events", {"StackEvents": [old]})
    aws.add_response("execute_change_set", {})
    aws.add_response("describe_stacks", _status("UPDATE_ROLLBACK_COMPLETE"))
    aws.add_response("describe_stack_events", {"StackEvents": [*failed, old]})
    with pytest.raises(StackFailed) as problem:
        execute(aws.client, plan, 0.01)
    text = str(problem.value)
    assert "m5-test-database ended as UPDATE_ROLLBACK_COMPLETE" in text
    assert "Database (AWS::RDS::DBInstance): db.t9.huge is not a class of the region" in text
    assert "cancelled" not in text


def test_a_stack_that_changes_already_is_left_alone(aws: Stubber) -> None:
    aws.add_response("describe_stacks", _status("UPDATE_IN_PROGRESS"))
    with pytest.raises(UserError, match="UPDATE_IN_PROGRESS: wait"):
        plan_stack(aws.client, STACK, None, 0.01)


def test_what_waits_for_an_earlier_stacks_export_is_postponed(aws: Stubber) -> None:
    aws.add_response("describe_stacks", _status("CREATE_COMPLETE"))
    aws.add_response("create_change_set", {"Id": ARN})
    aws.add_response("describe_change_set", {"Status": "FAILED", "StatusReason": "No export named m5-test-X found."})
    aws.add_response("delete_change_set", {})
    plan = plan_stack(aws.client, STACK, None, 0.01)
    assert plan.postponed
    assert list(plan.lines()) == ["m5-test-database: known once an earlier stack has changed"]


def test_what_a_failed_creation_left_is_removed_first(aws: Stubber) -> None:
    aws.add_response("describe_stacks", _status("ROLLBACK_COMPLETE"))
    aws.add_response("delete_stack", {})
    aws.add_client_error("describe_stacks", "ValidationError", "Stack m5-test-database does not exist")
    aws.add_response("create_change_set", {"Id": ARN})
    described: dict[str, Any] = {"Status": "CREATE_COMPLETE", "Changes": []}
    aws.add_response("describe_change_set", described)
    aws.add_response("describe_change_set", described)
    aws.add_response("describe_stack_events", {"StackEvents": []})
    aws.add_response("execute_change_set", {})
    aws.add_response("describe_stacks", _status("CREATE_COMPLETE"))
    aws.add_response("describe_stack_events", {"StackEvents": [_event(1, STACK.name, "CREATE_COMPLETE")]})
    execute(aws.client, StackPlan(STACK, None, is_new=True), 0.01)
    aws.assert_no_pending_responses()


def test_a_release_comes_back_from_its_record_as_it_was() -> None:
    release = Release((STACK,), {"platform": "a"}, "20260101T000000Z")
    assert Release.from_json(json.loads(json.dumps(release.as_json()))) == release
