"""What a deployment would change: CloudFormation's change sets, made, read and written out for people.

Not here: carrying them out (`execution`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from m5_assets.errors import UserError
from m5_assets.extras.deployment.releases import Stack, parse_template

CloudFormation = Any
"""A boto3 CloudFormation client; its stubs are not among our packages."""

_NOTHING_TO_DO = ("didn't contain changes", "No updates are to be performed")
_HOLDS_DATA = frozenset({"AWS::RDS::DBInstance", "AWS::S3::Bucket", "AWS::KMS::Key", "AWS::ECR::Repository"})
_UNCHANGED_STATUSES = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
)


@dataclass(frozen=True)
class Change:
    """A change of one resource.

    Attributes:
        action: `Add`, `Modify`, `Remove`, ...
        resource: its logical name.
        kind: its type, such as `AWS::S3::Bucket`.
        replaced: whether a new one takes its place: `True`, `False` or `Conditional`.
        properties: what changes of it, where CloudFormation says so.
    """

    action: str
    resource: str
    kind: str
    replaced: str = "False"
    properties: tuple[str, ...] = ()

    @property
    def loses_data(self) -> bool:
        """Whether something that holds data, images or keys is taken out of service."""
        return self.kind in _HOLDS_DATA and (self.action == "Remove" or self.replaced != "False")

    def __str__(self) -> str:
        sign = {"Add": "+", "Remove": "-"}.get(self.action, "~")
        text = f"{sign} {self.resource} ({self.kind})"
        if self.properties:
            text += f": {', '.join(self.properties)}"
        if self.replaced != "False":
            text += "  REPLACED" if self.replaced == "True" else "  REPLACED, perhaps"
        return text + ("  HOLDS DATA" if self.loses_data else "")


@dataclass(frozen=True)
class StackPlan:
    """What is to change of a stack.

    Attributes:
        stack: the stack as it is to be.
        role: the role that CloudFormation takes to change it; None for the caller's own rights.
        changes: the changes; none where the stack is as it is to be.
        change_set: the change set's ARN; empty for a stack that does not exist yet.
        is_new: whether the stack does not exist yet.
        postponed: why the changes cannot be computed before an earlier stack has changed; else empty.
    """

    stack: Stack
    role: str | None
    changes: tuple[Change, ...] = ()
    change_set: str = ""
    is_new: bool = False
    postponed: str = ""

    def lines(self) -> Iterator[str]:
        """Yield it as text: the stack, then a line a change."""
        if self.postponed:
            what = "known once an earlier stack has changed"
        elif self.is_new:
            what = "new"
        elif self.change_set:
            # A change of outputs or tags alone changes no resource.
            what = f"{len(self.changes)} changes of resources"
        else:
            what = "unchanged"
        yield f"{self.stack.name}: {what}"
        for change in self.changes:
            yield f"  {change}"


def plan_stack(client: CloudFormation, stack: Stack, role: str | None, poll_seconds: float) -> StackPlan:
    """Compute what has to change so that a stack is as it is to be.

    A stack that does not exist is planned from its template alone: a change set would create an empty stack.

    Raises:
        UserError: CloudFormation refuses the template, or the stack is in a state that forbids changes.
    """
    status = stack_status(client, stack.name)
    if status in ("", "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        resources = _planned_resources(client, stack)
        return StackPlan(stack, role, tuple(resources), is_new=True)
    if status not in _UNCHANGED_STATUSES:
        raise UserError(
            f"{stack.name} is in the state {status}: wait until the change in progress has ended; after "
            "UPDATE_ROLLBACK_FAILED, run `aws cloudformation continue-update-rollback` (docs/aws.md)"
        )
    return request_changes(client, stack, role, poll_seconds, is_new=False)


def request_changes(
    client: CloudFormation, stack: Stack, role: str | None, poll_seconds: float, *, is_new: bool
) -> StackPlan:
    """Make a change set and read it; for a new stack this creates the empty stack that it will fill.

    Raises:
        UserError: CloudFormation refuses the change.
    """
    request: dict[str, Any] = {
        "StackName": stack.name,
        "ChangeSetName": f"m5-{time.time_ns()}",
        "ChangeSetType": "CREATE" if is_new else "UPDATE",
        "TemplateBody": stack.template,
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in stack.parameters.items()],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
        "Tags": [{"Key": "project", "Value": "m5"}, {"Key": "environment", "Value": stack.parameters["Environment"]}],
        **({"RoleARN": role} if role else {}),
    }
    try:
        arn = client.create_change_set(**request)["Id"]
    except ClientError as problem:
        return _without_changes(stack, role, problem.response["Error"]["Message"], is_new)
    description = _await_change_set(client, arn, poll_seconds)
    if description["Status"] == "FAILED":
        client.delete_change_set(ChangeSetName=arn)
        return _without_changes(stack, role, description.get("StatusReason", "no reason given"), is_new)
    return StackPlan(stack, role, tuple(_changes(client, arn)), arn, is_new)


def discard(client: CloudFormation, plan: StackPlan) -> None:
    """Remove the change set of a plan, if it has one."""
    if plan.change_set:
        client.delete_change_set(ChangeSetName=plan.change_set)


def stack_status(client: CloudFormation, name: str) -> str:
    """Return the state of a stack; empty where there is none of this name."""
    try:
        status: str = client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as problem:
        if problem.response["Error"]["Code"] == "ValidationError" and "does not exist" in str(problem):
            return ""
        raise
    return status


def risky(plans: Sequence[StackPlan]) -> list[str]:
    """Return what would take data out of service, as `stack: resource`."""
    return [f"{plan.stack.name}: {change}" for plan in plans for change in plan.changes if change.loses_data]


def _planned_resources(client: CloudFormation, stack: Stack) -> list[Change]:
    try:
        client.validate_template(TemplateBody=stack.template)
    except ClientError as problem:
        raise UserError(f"{stack.name}: {problem.response['Error']['Message']}") from None
    resources = parse_template(stack.template)["Resources"]
    # What stands under a condition may be left out; CloudFormation decides when it makes the stack.
    return [
        Change("Add", name, spec["Type"], properties=(f"if {spec['Condition']}",) if "Condition" in spec else ())
        for name, spec in resources.items()
    ]


def _await_change_set(client: CloudFormation, arn: str, poll_seconds: float) -> dict[str, Any]:
    while True:
        description: dict[str, Any] = client.describe_change_set(ChangeSetName=arn)
        if description["Status"] in ("CREATE_COMPLETE", "FAILED"):
            return description
        time.sleep(poll_seconds)


def _changes(client: CloudFormation, arn: str) -> Iterator[Change]:
    for page in client.get_paginator("describe_change_set").paginate(ChangeSetName=arn):
        for entry in page["Changes"]:
            change = entry["ResourceChange"]
            targets = (detail.get("Target", {}) for detail in change.get("Details", ()))
            names = {t.get("Name") or t.get("Attribute", "") for t in targets}
            yield Change(
                change["Action"],
                change["LogicalResourceId"],
                change["ResourceType"],
                change.get("Replacement", "False"),
                tuple(sorted(names - {""})),
            )


def _without_changes(stack: Stack, role: str | None, reason: str, is_new: bool) -> StackPlan:
    """Return the plan where there is no change set: nothing to do, not yet to be known, or refused."""
    if any(text in reason for text in _NOTHING_TO_DO):
        return StackPlan(stack, role, is_new=is_new)
    if "No export named" in reason and not is_new:
        return StackPlan(stack, role, postponed=reason)
    raise UserError(f"{stack.name}: {reason}")
