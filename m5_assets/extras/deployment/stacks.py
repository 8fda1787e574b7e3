"""Changes of stacks by `aws cloudformation`, and the one thing it lacks: a warning of changes that lose data."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from m5_assets.errors import UserError
from m5_assets.extras.deployment.checkout import Stack
from m5_assets.extras.deployment.programs import AwsCli, ProgramFailed

_HOLDS_DATA = frozenset({"AWS::RDS::DBInstance", "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::ECR::Repository"})
_BY_ADMINISTRATORS = ("delivery", "keys", "lake")
_LEFT_OVER = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED")


class StackFailed(UserError):
    """A stack could not be changed, and CloudFormation rolled it back; the message gives the first causes."""


@dataclass(frozen=True)
class Plan:
    """What would change of a stack.

    Attributes:
        stack: the stack.
        state: such as `unchanged`.
        changes: a line per resource, such as `~ Database (AWS::RDS::DBInstance)`.
        losses: those of the lines that remove or replace something that holds data, images or keys.
        change_set: the ARN of the change set, if there is one.
    """

    stack: Stack
    state: str
    changes: Sequence[str] = ()
    losses: Sequence[str] = ()
    change_set: str = ""

    def __str__(self) -> str:
        return "\n  ".join([f"{self.stack.name}: {self.state}", *self.changes])


NEW, UNCHANGED, WAITS = "new", "unchanged", "known once an earlier stack has changed"
NEW_AGAIN = "new, once what a failed creation left is removed"


class CloudFormation:
    """CloudFormation of an account, through the AWS CLI."""

    def __init__(self, aws: AwsCli, account: str) -> None:
        self._aws, self._account = aws, account

    def plan(self, stacks: Sequence[Stack]) -> list[Plan]:
        """Make a change set of every existing stack, and return what would change.

        Raises:
            UserError: CloudFormation refuses a change.
        """
        status = self._status()
        with ThreadPoolExecutor(4) as pool:  # each waits a few seconds for its change set
            return list(pool.map(lambda stack: self._plan(stack, status.get(stack.name, "")), stacks))

    def discard(self, plans: Sequence[Plan]) -> None:
        """Delete the change sets of plans that are not carried out."""
        for plan in plans:
            if plan.change_set:
                self._aws("cloudformation", "delete-change-set", "--change-set-name", plan.change_set)

    def carry_out(self, plan: Plan) -> None:
        """Execute a plan's change set, or create its new stack, and wait for the end.

        Raises:
            StackFailed: it failed.
        """
        name = ("--stack-name", plan.stack.name)
        try:
            if plan.state == NEW_AGAIN:
                self._aws("cloudformation", "delete-stack", *name)
                self._aws("cloudformation", "wait", "stack-delete-complete", *name)
            if plan.state in (NEW, NEW_AGAIN):
                self._deploy(plan.stack)
            elif plan.change_set:
                self._aws("cloudformation", "execute-change-set", "--change-set-name", plan.change_set)
                self._aws("cloudformation", "wait", "stack-update-complete", *name)
        except ProgramFailed as problem:
            raise StackFailed(
                f"{plan.stack.name}: {problem}\n{self._causes(plan.stack.name)}The stacks before it are changed: fix "
                "the cause and deploy again, or go back with --undo"
            ) from None

    def _plan(self, stack: Stack, status: str) -> Plan:
        if status in (
            "",
            "REVIEW_IN_PROGRESS",
            *_LEFT_OVER,
        ):  # shown from its template, as a change set would create an empty stack
            found = re.findall(
                r"^  (\w+):\n    Type: (AWS::.+)$", stack.template.read_text(encoding="utf-8"), re.MULTILINE
            )
            return Plan(
                stack, NEW_AGAIN if status in _LEFT_OVER else NEW, [f"+ {name} ({kind})" for name, kind in found]
            )
        try:
            printed = self._deploy(stack, "--no-execute-changeset")
        except ProgramFailed as problem:
            if "No export named" in str(problem):
                return Plan(stack, WAITS)
            raise UserError(f"{stack.name}: {problem}") from None
        if (arn := re.search(r"arn:\S+:changeSet/\S+", printed)) is None:
            return Plan(stack, UNCHANGED)
        described = json.loads(self._aws("cloudformation", "describe-change-set", "--change-set-name", arn[0]))
        lines = [_line(change["ResourceChange"]) for change in described.get("Changes", ())]
        # A change of outputs or tags alone changes no resource.
        losses = [line for line in lines if line.endswith(_LOSS)]
        return Plan(stack, f"{len(lines)} changes of resources", lines, losses, arn[0])

    def _deploy(self, stack: Stack, *options: str) -> str:
        # CloudFormation's role can change neither itself nor keys and data: there the caller's own rights count.
        role = ("--role-arn", f"arn:aws:iam::{self._account}:role/m5-{stack.environment}-stacks")
        return self._aws(
            *("cloudformation", "deploy", "--stack-name", stack.name, "--template-file", str(stack.template)),
            *("--parameter-overrides", *(f"{key}={value}" for key, value in stack.parameters.items())),
            *("--tags", "project=m5", f"environment={stack.environment}", "--capabilities", "CAPABILITY_NAMED_IAM"),
            *("--no-fail-on-empty-changeset", *options, *(() if stack.part in _BY_ADMINISTRATORS else role)),
        )

    def _status(self) -> dict[str, str]:
        query = "Stacks[].[StackName, StackStatus]"
        return dict(json.loads(self._aws("cloudformation", "describe-stacks", "--query", query)))

    def _causes(self, name: str) -> str:
        """Return the failures of a stack's last operation, oldest first, without those that only followed."""
        query = "StackEvents[].[LogicalResourceId, ResourceType, ResourceStatus, ResourceStatusReason]"
        command = ("describe-stack-events", "--stack-name", name, "--max-items", "200", "--query", query)
        events = json.loads(self._aws("cloudformation", *command)) if name in self._status() else []
        last = takewhile(lambda event: (event[0], event[3]) != (name, "User Initiated"), events)
        failed = [event for event in last if event[2].endswith("_FAILED") and "cancelled" not in (event[3] or "")]
        return "".join(f"  {resource} ({kind}): {reason}\n" for resource, kind, _, reason in reversed(failed))


_LOSS = "HOLDS DATA"


def _line(change: dict[str, Any]) -> str:
    sign = {"Add": "+", "Remove": "-"}.get(change["Action"], "~")
    line = f"{sign} {change['LogicalResourceId']} ({change['ResourceType']})"
    targets = [detail.get("Target", {}) for detail in change.get("Details", ())]
    if names := sorted({target.get("Name") or target.get("Attribute", "") for target in targets} - {""}):
        line += f": {', '.join(names)}"
    replaced = change.get("Replacement", "False")
    if replaced != "False":
        line += "  REPLACED" if replaced == "True" else "  REPLACED, perhaps"
    lost = change["ResourceType"] in _HOLDS_DATA and (change["Action"] == "Remove" or replaced != "False")
    return f"{line}  {_LOSS}" if lost else line
