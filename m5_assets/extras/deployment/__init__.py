"""`m5 deploy`: the AWS stacks of an environment, its images, and the way back.

Here: the order of a deployment and what its user is told and asked. The parts: `releases` says what is deployed,
`changes` what it would change, `execution` changes it, `images` builds and pushes, `records` remembers for an undo.
Not here: the stacks themselves (`infrastructure/`), and what runs on them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

import m5_assets
from m5_assets.errors import UserError
from m5_assets.extras.deployment.changes import Change, StackPlan, discard, plan_stack
from m5_assets.extras.deployment.execution import execute
from m5_assets.extras.deployment.images import Images
from m5_assets.extras.deployment.records import Records
from m5_assets.extras.deployment.releases import Environment, Release, Tags, compose

CHECKOUT = Path(m5_assets.__file__).parents[1]
"""The folder that holds `infrastructure/` and `docker/`: deployments are made from a checkout."""

log = logging.getLogger("m5")


class Deployment:
    """A deployment of one environment, by the credentials and the region of this process's AWS configuration.

    Args:
        environment: the environment.
        checkout: the repository's folder.
        poll_seconds: between two looks at a stack that changes.

    Raises:
        UserError: there are no credentials, they are no longer valid, or they are of another account than the
            environment's.
    """

    def __init__(self, environment: Environment, checkout: Path, *, poll_seconds: float = 5.0) -> None:
        self.environment, self._checkout, self._poll = environment, checkout, poll_seconds
        try:
            account = boto3.client("sts", region_name=environment.region).get_caller_identity()["Account"]
        except (BotoCoreError, ClientError) as problem:
            raise UserError(
                f"AWS cannot tell who is deploying: {problem}. Give this shell credentials of account "
                f"{environment.account}, such as `export AWS_PROFILE=...` after `aws sso login` (docs/aws.md)"
            ) from None
        if account != environment.account:
            raise UserError(
                f"these credentials are of account {account}, but environment {environment.name} belongs to "
                f"{environment.account}: use that account's credentials, or mend "
                f"infrastructure/environments/{environment.name}.json"
            )
        self._cloudformation = boto3.client("cloudformation", region_name=environment.region)
        self._records = Records(environment)
        self._images = Images(environment, checkout)

    def current(self) -> Release:
        """Return the release that this checkout makes."""
        return compose(self.environment, self._checkout / "infrastructure", self._images.tags())

    def previous(self) -> Release:
        """Return the last good release that is not the last one tried.

        Raises:
            UserError: there is none, or one of its images is gone.
        """
        release = self._records.previous()
        missing = self._images.missing(release.tags)
        if missing:
            raise UserError(
                f"the release of {release.made} cannot be deployed again, its images are gone from ECR: "
                f"{', '.join(f'{name}:{tag}' for name, tag in missing.items())}; check out its commit and deploy that"
            )
        return release

    def plan(self, release: Release) -> list[StackPlan]:
        """Return what the release would change, stack by stack in order; `discard` what is not carried out."""
        return [plan_stack(self._cloudformation, stack, self._role(stack.part), self._poll) for stack in release.stacks]

    def discard(self, plans: list[StackPlan]) -> None:
        """Remove the change sets of plans that are not carried out."""
        for plan in plans:
            discard(self._cloudformation, plan)

    def carry_out(self, release: Release, plans: list[StackPlan], agree: Callable[[StackPlan], bool]) -> None:
        """Deploy the release: images are built, stacks changed in order, images pushed before what runs them.

        Args:
            release: what is deployed.
            plans: its plans, as shown.
            agree: asked again for a change that could only be computed once an earlier stack had changed.

        Raises:
            StackFailed: a stack failed and went back to what it was; the message names the first cause.
            UserError: an image could not be built or pushed, or `agree` said no.
        """
        built = self._images.build(self._images.missing(release.tags))
        self._records.begin(release)
        for number, plan in enumerate(plans, start=1):
            if plan.stack.runs_images and built:
                self._images.push(built)
                built = {}
            log.info("%d of %d: %s", number, len(plans), plan.stack.name)
            execute(self._cloudformation, self._computed(plan, agree), self._poll)
        self._records.finish(release)

    def _computed(self, plan: StackPlan, agree: Callable[[StackPlan], bool]) -> StackPlan:
        if not plan.postponed:
            return plan
        computed = plan_stack(self._cloudformation, plan.stack, self._role(plan.stack.part), self._poll)
        if computed.postponed:
            raise UserError(f"{plan.stack.name}: {computed.postponed}")
        if computed.changes and not agree(computed):
            discard(self._cloudformation, computed)
            raise UserError(f"stopped before {plan.stack.name}; the stacks before it are changed (undo: --undo)")
        return computed

    def _role(self, part: str) -> str | None:
        """Return the role that CloudFormation takes: its own, but for the stack that makes it."""
        if part == "delivery":
            return None
        return f"arn:aws:iam::{self.environment.account}:role/m5-{self.environment.name}-stacks"


__all__ = ["CHECKOUT", "Change", "Deployment", "Environment", "Release", "StackPlan", "Tags"]
