"""`m5 deploy`: what it shows and asks; `m5_assets.extras.deployment` does the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from botocore.exceptions import BotoCoreError, ClientError

from m5_assets.errors import UserError
from m5_assets.extras.deployment import CHECKOUT, Deployment, Environment, StackPlan
from m5_assets.extras.deployment.changes import risky


@click.command()
@click.option("--environment", required=True, help="Name of a file in infrastructure/environments, e.g. dev.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; refused where a database, bucket, key or repository would go.")
@click.option("--undo", is_flag=True, help="Return to the successful deployment before the last one.")
def deploy(environment: str, only_plan: bool, yes: bool, undo: bool) -> None:
    """Deploy an environment's AWS stacks and images.

    Needs a checkout of the repository; see docs/aws.md.
    """
    run(environment, only_plan=only_plan, yes=yes, undo=undo)


def run(
    name: str, *, only_plan: bool, yes: bool, undo: bool, checkout: Path = CHECKOUT, poll_seconds: float = 5.0
) -> None:
    """Deploy an environment, or show what a deployment would change.

    Args:
        name: the environment's name.
        only_plan: show the changes and change nothing.
        yes: do not ask.
        undo: go back to the last good deployment instead of deploying this checkout.
        checkout: the repository's folder.
        poll_seconds: between two looks at a stack.

    Raises:
        UserError: what the user can mend; StackFailed among them.
    """
    environment = Environment.load(name, checkout / "infrastructure" / "environments")
    try:
        _run(environment, only_plan=only_plan, yes=yes, undo=undo, checkout=checkout, poll_seconds=poll_seconds)
    except (BotoCoreError, ClientError) as problem:
        raise UserError(
            f"AWS refused, or could not be reached: {problem}. A stack whose change had begun goes on changing; "
            "mend the cause and run the same command again"
        ) from None


def _run(
    environment: Environment, *, only_plan: bool, yes: bool, undo: bool, checkout: Path, poll_seconds: float
) -> None:
    deployment = Deployment(environment, checkout, poll_seconds=poll_seconds)
    release = deployment.previous() if undo else deployment.current()
    click.echo(f"{environment.name}: {f'back to {release.id} of {release.made}' if undo else f'release {release.id}'}")
    plans = deployment.plan(release)
    try:
        _show(plans)
        if only_plan or not _agreed(plans, yes):
            deployment.discard(plans)
            click.echo("Nothing was changed.")
            return
    except (click.Abort, UserError):
        deployment.discard(plans)
        raise
    deployment.carry_out(release, plans, lambda plan: _agreed_late(plan, yes))
    click.echo(f"{environment.name} is at release {release.id}")


def _show(plans: Sequence[StackPlan]) -> None:
    for plan in plans:
        for line in plan.lines():
            click.echo(line)


def _agreed(plans: Sequence[StackPlan], yes: bool) -> bool:
    losses = risky(plans)
    if losses and yes:
        raise UserError(
            "--yes does not cover what takes data out of service; run without it to decide. "
            f"It would: {'; '.join(losses)}"
        )
    if losses:
        word = "lose"
        click.echo(f"This takes data out of service: {'; '.join(losses)}")
        return bool(click.prompt(f"Type {word!r} to go on", default="", show_default=False) == word)
    return yes or click.confirm("Deploy this?")


def _agreed_late(plan: StackPlan, yes: bool) -> bool:
    _show([plan])
    return _agreed([plan], yes)
