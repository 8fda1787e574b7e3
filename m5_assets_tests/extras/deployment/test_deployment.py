"""`m5 deploy` by the real AWS CLI against a moto server: what is shown, asked, done, refused and undone."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Change, ChangeSet, CloudFormationBackend, cloudformation_backends

from m5_assets.cli.main import cli
from m5_assets.errors import UserError
from m5_assets.extras.deployment import command
from m5_assets.extras.deployment.images import image_tags
from m5_assets.extras.deployment.stacks import StackFailed
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import JobSettings
from m5_assets_tests.extras.deployment.conftest import Checkout, engine_calls
from m5_assets_tests.infrastructure.conftest import ACCOUNT, ROOT, Account
from m5_assets_tests.support import moto_gaps
from m5_assets_tests.support.iam_policies import allows


def deploy(checkout: Checkout, answer: str = "", **options: bool) -> str:
    """Run the dialogue with an answer typed in; return what it printed."""
    chosen = {"only_plan": False, "yes": False, "undo": False, **options}
    with CliRunner().isolation(input=answer) as streams:
        command.run(checkout.environment, checkout=checkout.root, **chosen)
        return streams[0].getvalue().decode()


def stacks(checkout: Checkout) -> dict[str, str]:
    found = boto3.client("cloudformation").describe_stacks()["Stacks"]
    prefix = f"m5-{checkout.environment}-"
    return {s["StackName"]: s["StackStatus"] for s in found if s["StackName"].startswith(prefix)}


def parameter(checkout: Checkout, part: str, name: str) -> str:
    """Return the value of a parameter with which a stack was last changed."""
    found = boto3.client("cloudformation").describe_stacks(StackName=f"m5-{checkout.environment}-{part}")["Stacks"][0]
    return next(str(entry["ParameterValue"]) for entry in found["Parameters"] if entry["ParameterKey"] == name)


def test_a_plan_shows_everything_and_changes_nothing(checkout: Checkout) -> None:
    shown = deploy(checkout, only_plan=True)
    assert f"m5-{checkout.environment}-lake: new" in shown
    assert "+ Database (AWS::RDS::DBInstance)" in shown
    order = [shown.index(f"m5-{checkout.environment}-{part}: new") for part in ("network", "database", "run")]
    assert order == sorted(order)
    assert stacks(checkout) == {}
    assert engine_calls() == []


def test_no_is_no(checkout: Checkout) -> None:
    checkout.keep_stacks("keys", "lake")
    shown = deploy(checkout, answer="n\n")
    assert "Deploy this?" in shown
    assert shown.endswith("Nothing was changed.\n")
    assert stacks(checkout) == {}


def test_a_life_of_deployments(
    checkout: Checkout, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="m5")
    calls = moto_gaps.record(monkeypatch)
    # From an empty account: images are built first and pushed once their repositories are there.
    assert "is at commit" in deploy(checkout, answer="y\n")
    assert set(stacks(checkout).values()) == {"CREATE_COMPLETE"}
    assert len(stacks(checkout)) == 16
    used = [call.split()[0] for call in engine_calls() if call != "info"]
    assert used == ["build"] * 6 + ["login"] + ["push"] * 5
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
    assert parameter(checkout, "run", "TimeZone") == "Asia/Tokyo"
    assert "back to commit" in deploy(checkout, yes=True, undo=True)
    assert parameter(checkout, "run", "TimeZone") == "UTC"
    assert engine_calls() == []
    _check_rights(checkout, set(calls) - {("ecr", "PutImage")})  # that one is the test's engine's


def _check_rights(checkout: Checkout, calls: set[tuple[str, str]]) -> None:
    """A workflow's role may make every call of a deployment."""
    assert {("cloudformation", "ExecuteChangeSet"), ("ecr", "DescribeImages"), ("ssm", "PutParameter")} <= calls
    name, where = checkout.environment, f"us-east-1:{ACCOUNT}"
    resources = {
        "cloudformation": f"arn:aws:cloudformation:{where}:stack/m5-{name}-database/0a1b",  # not lake
        "ecr": f"arn:aws:ecr:{where}:repository/m5-{name}/gbm",
        "ssm": f"arn:aws:ssm:{where}:parameter/m5/{name}/deployments",
    }
    apart = dict.fromkeys(("GetAuthorizationToken", "DescribeStacks"), "*")
    rights = Account(()).rights(f"m5-{name}-deploy")
    for service, operation in sorted(calls):
        if service in resources:
            resource = apart.get(operation, resources[service])
            assert allows(rights, f"{service}:{operation}", resource), operation
    # Who one is, AWS tells everybody.
    assert {service for service, _ in calls} == {*resources, "sts"}


def test_an_undo_goes_back_to_the_last_success_before_the_last_attempt(checkout: Checkout) -> None:
    checkout.keep_stacks("keys", "lake")
    for days in ("30", "60"):
        checkout.write_environment(PipesDays=days)
        deploy(checkout, yes=True)
    for days in ("30", "60"):  # an undo is undone by another
        deploy(checkout, yes=True, undo=True)
        assert parameter(checkout, "lake", "PipesDays") == days
    # One that began and never ended, as when its process was killed, is gone back from, never to.
    boto3.client("ssm").put_parameter(
        Name=f"/m5/{checkout.environment}/deployments", Value=f"begun {'0' * 40}", Type="String", Overwrite=True
    )
    assert "lake: unchanged" in deploy(checkout, yes=True, undo=True)


def test_an_undo_needs_the_commit(checkout: Checkout) -> None:
    for note in (f"succeeded {'a' * 40}", f"begun {'b' * 40}"):
        boto3.client("ssm").put_parameter(
            Name=f"/m5/{checkout.environment}/deployments", Value=note, Type="String", Overwrite=True
        )
    with pytest.raises(UserError, match="lacks the commit of that deployment; `git fetch` it"):
        deploy(checkout, undo=True)


def test_there_is_nothing_to_go_back_to_at_first(checkout: Checkout) -> None:
    with pytest.raises(UserError, match="nothing to go back to"):
        deploy(checkout, undo=True)


def test_what_is_not_committed_is_planned_and_not_deployed(checkout: Checkout) -> None:
    checkout.keep_stacks("keys")
    (checkout.root / "infrastructure" / "stacks" / "keys.yaml").open("a").write("# mine\n")
    assert "keys: new" in deploy(checkout, only_plan=True)
    with pytest.raises(UserError, match=r"commit this first: .*\n M infrastructure/stacks/keys.yaml"):
        deploy(checkout, yes=True)


def test_another_accounts_credentials_are_refused(checkout: Checkout) -> None:
    checkout.write_environment(account="999999999999")
    with pytest.raises(UserError, match=f"account {ACCOUNT}, but environment .* belongs to 999999999999"):
        deploy(checkout)


def test_without_credentials_the_remedy_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(checkout.root / "none"))
    with pytest.raises(UserError, match=rf"(?s)Unable to locate credentials.*account {ACCOUNT}.*AWS_PROFILE"):
        deploy(checkout, only_plan=True)


def test_without_the_aws_cli_the_remedy_is_named(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    with pytest.raises(UserError, match=r"needs the AWS CLI: install version 2 \(https.*, or pip install '\.\[aws\]'"):
        deploy(checkout, only_plan=True)


def test_a_service_that_does_not_answer_is_named(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=r"(?s)aws cloudformation describe-stacks failed.*127\.0\.0\.1:1"):
        deploy(checkout, only_plan=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Invalid JSON"),
        ("[]", "account .*, region and parameters"),
        ('{"account": "1", "region": "r", "parameters": {}}', "twelve digits"),
        ('{"account": "1", "region": "r", "parameters": {"A": 1}}', r"(?s)parameters\.A.*valid string"),
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
        command.run("prd", only_plan=True, yes=False, undo=False, checkout=checkout.root)


def test_the_command_line_reaches_it(server: str) -> None:
    done = CliRunner().invoke(cli, ["deploy", "--environment", "nowhere"])
    assert "there are: dev, prod" in str(done.exception)


def test_without_an_engine_nothing_is_begun(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checkout.keep_stacks("keys")
    engine = tmp_path / "bin" / "docker"
    for name in ("docker", "podman"):
        (engine.parent / name).write_text("#!/bin/sh\nexit 1\n")
        (engine.parent / name).chmod(0o755)
    with pytest.raises(UserError, match="neither docker nor podman"):
        deploy(checkout, yes=True)
    assert stacks(checkout) == {}


def test_a_build_that_fails_says_why(checkout: Checkout, tmp_path: Path) -> None:
    checkout.keep_stacks("keys")
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\n[ $1 = info ] || { echo no space left >&2; exit 7; }\n")
    with pytest.raises(UserError, match=r"docker build failed with 7:\nno space left"):
        deploy(checkout, yes=True)
    assert stacks(checkout) == {}


def test_a_tag_names_what_goes_into_the_image(checkout: Checkout) -> None:
    home = str(checkout.root)
    local = SageMakerJobs(home=home, lake=Lake(root=home), job_settings=JobSettings(mode="local")).image("gbm")
    assert image_tags(ROOT)["gbm"].startswith(local.rpartition(":")[2] + "-")
    before = image_tags(checkout.root)
    assert set(before) == {"features", "gbm", "lstm", "platform", "totals"}
    with (checkout.root / "constraints.txt").open("a") as constraints:
        constraints.write("# a newer package\n")
    after = image_tags(checkout.root)
    assert all(before[name] != after[name] for name in before)
    with (checkout.root / "infrastructure" / "dagster.yaml").open("a") as instance:
        instance.write("# another setting\n")
    last = image_tags(checkout.root)
    assert [name for name in after if after[name] != last[name]] == ["platform"]


# What moto cannot do: changes that replace, stacks that fail or are busy. Its backend gives AWS's answers instead.


@pytest.fixture
def deployed(checkout: Checkout) -> Checkout:
    """Return a checkout of two deployed stacks, and a change of the second."""
    checkout.keep_stacks("keys", "lake")
    deploy(checkout, yes=True)
    checkout.write_environment(PipesDays="60")
    engine_calls()
    return checkout


def _replacing(_: ChangeSet) -> list[Any]:
    change = Change("Modify", "Lake", "AWS::S3::Bucket")
    change.replacement = "True"
    change.details = [{"Target": {"Attribute": "Properties", "Name": "BucketName"}}]
    return [change]


def test_a_replaced_bucket_is_shown_and_not_covered_by_yes(deployed: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChangeSet, "diff", _replacing)
    line = "  ~ Lake (AWS::S3::Bucket): BucketName  REPLACED  HOLDS DATA\n"
    assert f"m5-{deployed.environment}-lake: 1 changes of resources\n{line}" in deploy(deployed, only_plan=True)
    with pytest.raises(UserError, match=r"--yes does not cover .*Lake"):
        deploy(deployed, yes=True)
    for answer in ("y\n", "\n"):
        assert "Nothing was changed" in deploy(deployed, answer=answer)
    assert parameter(deployed, "lake", "PipesDays") == "30"
    assert boto3.client("cloudformation").list_change_sets(StackName=f"m5-{deployed.environment}-lake")
    assert "is at commit" in deploy(deployed, answer="lose\n")
    assert parameter(deployed, "lake", "PipesDays") == "60"


def test_a_failure_names_its_first_cause_first(deployed: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
        stack = self.stacks[self.change_sets[change_set_name].stack_id]
        stack._add_stack_event("UPDATE_IN_PROGRESS", resource_status_reason="User Initiated")
        for name, reason in (("Lake", "BucketName is taken"), ("LakePolicy", "Resource update cancelled")):
            stack._add_stack_event("UPDATE_FAILED", resource_status_reason=reason)
            stack.events[-1].logical_resource_id = name
            stack.events[-1].resource_type = "AWS::S3::Bucket"
        stack._add_stack_event("UPDATE_ROLLBACK_COMPLETE")
        stack.status = "UPDATE_ROLLBACK_COMPLETE"

    monkeypatch.setattr(CloudFormationBackend, "execute_change_set", execute)
    with pytest.raises(StackFailed) as problem:
        deploy(deployed, yes=True)
    text = str(problem.value)
    assert f"m5-{deployed.environment}-lake: aws cloudformation wait failed" in text
    assert "Lake (AWS::S3::Bucket): BucketName is taken" in text
    assert "cancelled" not in text


def _create(answer: Callable[[Any], None]) -> Callable[..., Any]:
    create = CloudFormationBackend.create_change_set

    def create_change_set(self: Any, *arguments: Any, **options: Any) -> Any:
        made = create(self, *arguments, **options)
        answer(self.change_sets[made[0]])
        return made

    return create_change_set


def test_a_stack_that_changes_already_is_left_alone(deployed: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise ValidationError("", message="Stack:arn is in UPDATE_IN_PROGRESS state and can not be updated.")

    monkeypatch.setattr(CloudFormationBackend, "create_change_set", _create(refuse))
    with pytest.raises(UserError, match=r"(?s)m5-test\d+-\w+: aws .* UPDATE_IN_PROGRESS state and can not be updated"):
        deploy(deployed, yes=True)


def test_what_waits_for_an_earlier_stacks_export_is_asked_about_in_its_turn(
    deployed: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def lack(change_set: Any) -> None:
        if change_set.stack_name.endswith("-lake"):
            tries.append(change_set.stack_name)
            if len(tries) == 1:
                change_set.status, change_set.status_reason = "FAILED", "No export named m5-test-X found."

    monkeypatch.setattr(CloudFormationBackend, "create_change_set", _create(lack))
    shown = deploy(deployed, answer="y\ny\n")
    assert f"m5-{deployed.environment}-lake: known once an earlier stack has changed" in shown
    assert shown.count("Deploy this?") == 2
    assert parameter(deployed, "lake", "PipesDays") == "60"
    tries.clear()
    deployed.write_environment(PipesDays="90")
    with pytest.raises(UserError, match=r"stopped before .*-lake"):
        deploy(deployed, answer="y\nn\n")


def test_what_a_failed_creation_left_is_removed_first(checkout: Checkout) -> None:
    checkout.keep_stacks("keys")
    deploy(checkout, yes=True)
    [left] = [s for s in _backend().stacks.values() if s.name == f"m5-{checkout.environment}-keys"]
    left.status = "ROLLBACK_COMPLETE"
    deploy(checkout, yes=True)
    [made] = [s for s in _backend().stacks.values() if s.name == f"m5-{checkout.environment}-keys"]
    assert made.status == "CREATE_COMPLETE"
    assert made.stack_id != left.stack_id


def _backend() -> CloudFormationBackend:
    return cloudformation_backends[ACCOUNT]["us-east-1"]
