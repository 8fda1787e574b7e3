"""`m5 deploy`: shows what a deployment changes, asks, and carries it out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import click

from m5_assets.clone import CLONE
from m5_assets.errors import UserError
from m5_assets.extras.deployment.checkout import Environment, checked_out, clean_commit, read_stacks
from m5_assets.extras.deployment.images import build, image_tags, missing_images, push
from m5_assets.extras.deployment.programs import AwsCli, ProgramFailed
from m5_assets.extras.deployment.stacks import WAITS, CloudFormation, Plan

log = logging.getLogger("m5")


@click.command()
@click.option("--environment", required=True, help="Name of a file in infrastructure/environments, e.g. dev.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; refused where a database, bucket, key or repository would go.")
@click.option("--undo", is_flag=True, help="Return to the successful deployment before the last one.")
def deploy(environment: str, only_plan: bool, yes: bool, undo: bool) -> None:
    """Deploy an environment's AWS stacks and images.

    Needs a checkout of the repository and the AWS CLI; see docs/aws.md.
    """
    run(environment, only_plan=only_plan, yes=yes, undo=undo)


def run(name: str, *, only_plan: bool, yes: bool, undo: bool, checkout: Path = CLONE) -> None:
    """Deploy an environment from a checkout, or show what a deployment would change.

    Args:
        name: the environment's name.
        only_plan: show the changes and change nothing.
        yes: do not ask.
        undo: go back to the last commit that was deployed with success before the last attempt.
        checkout: the repository's folder.

    Raises:
        UserError: the message names the remedy.
    """
    environment = Environment.load(name, checkout)
    aws = AwsCli(environment.region)
    _check_account(aws, environment)
    if undo:
        commit = _previous(aws, name)
        click.echo(f"back to commit {commit}")
        with checked_out(checkout, commit) as former:
            _deploy(aws, Environment.load(name, former), former, commit, only_plan=only_plan, yes=yes)
    else:
        commit = "" if only_plan else clean_commit(checkout)
        _deploy(aws, environment, checkout, commit, only_plan=only_plan, yes=yes)


def _deploy(aws: AwsCli, environment: Environment, checkout: Path, commit: str, *, only_plan: bool, yes: bool) -> None:
    tags = image_tags(checkout)
    cloudformation = CloudFormation(aws, environment.account)
    plans = cloudformation.plan(read_stacks(checkout, environment, tags))
    if not _agreed(cloudformation, plans, only_plan=only_plan, yes=yes):
        click.echo("Nothing was changed.")
        return
    images = missing_images(aws, environment, tags)
    build(checkout, images)
    _note(aws, environment, "begun", commit)
    for number, plan in enumerate(plans, start=1):
        if plan.stack.template.stem == "service":  # it starts containers, and the repositories are there by now
            push(aws, images)
            images = {}
        log.info("%d of %d: %s", number, len(plans), plan.stack.name)
        if plan.state == WAITS:
            (plan,) = cloudformation.plan([plan.stack])
            if not _agreed(cloudformation, [plan], only_plan=False, yes=yes):
                raise UserError(f"stopped before {plan.stack.name}; the stacks before it are changed (undo: --undo)")
        cloudformation.carry_out(plan)
    _note(aws, environment, "succeeded", commit)
    click.echo(f"{environment.name} is at commit {commit}")


def _agreed(cloudformation: CloudFormation, plans: Sequence[Plan], *, only_plan: bool, yes: bool) -> bool:
    """Show plans and ask whether to carry them out; those that are not carried out are discarded."""
    for plan in plans:
        click.echo(plan)
    losses = "; ".join(f"{plan.stack.name}: {line}" for plan in plans for line in plan.losses)
    agreed = False
    try:
        if losses and yes and not only_plan:
            raise UserError(f"--yes does not cover what takes data out of service; run without it to decide: {losses}")
        if only_plan:
            pass
        elif losses:
            click.echo(f"This takes data out of service: {losses}")
            agreed = click.prompt("Type 'lose' to continue", default="", show_default=False) == "lose"
        else:
            agreed = yes or click.confirm("Deploy this?")
    finally:
        if not agreed:
            cloudformation.discard(plans)
    return agreed


def _note(aws: AwsCli, environment: Environment, state: str, commit: str) -> None:
    """Note in Parameter Store, which keeps the last hundred values, that a deployment has begun or succeeded."""
    name = f"/m5/{environment.name}/deployments"
    aws("ssm", "put-parameter", "--name", name, "--type", "String", "--overwrite", "--value", f"{state} {commit}")


def _previous(aws: AwsCli, name: str) -> str:
    """Return the last commit that was deployed with success and is not that of the last attempt.

    Raises:
        UserError: there is none.
    """
    query = ("--name", f"/m5/{name}/deployments", "--query", "Parameters[].Value")
    try:
        notes = [value.split() for value in reversed(json.loads(aws("ssm", "get-parameter-history", *query)))]
    except ProgramFailed as problem:
        if "ParameterNotFound" not in str(problem):
            raise
        notes = []
    for state, commit in notes:
        if state == "succeeded" and commit != notes[0][1]:
            return str(commit)
    raise UserError("there is no earlier deployment that succeeded: nothing to go back to")


def _check_account(aws: AwsCli, environment: Environment) -> None:
    wanted, name = environment.account, environment.name
    try:
        account = json.loads(aws("sts", "get-caller-identity"))["Account"]
    except ProgramFailed as problem:
        raise UserError(
            f"{problem}\nGive this shell credentials of account {wanted}, such as `export AWS_PROFILE=...` after "
            "`aws sso login` (docs/aws.md)"
        ) from None
    if account != wanted:
        raise UserError(
            f"these credentials are of account {account}, but environment {name} belongs to {wanted}: use that "
            f"account's credentials, or correct infrastructure/environments/{name}.json"
        )
