"""Carrying out a plan: the change set is executed and followed to its end; a failure names its first cause.

Not here: how a change set comes about (`changes`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from m5_assets.errors import UserError
from m5_assets.extras.deployment.changes import CloudFormation, StackPlan, request_changes, stack_status

_DONE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
_CAUSES_SHOWN = 5

log = logging.getLogger("m5")


class StackFailed(UserError):
    """A stack could not be changed and went back to what it was; the message gives the causes, the first one first."""


def execute(client: CloudFormation, plan: StackPlan, poll_seconds: float) -> None:
    """Carry out a plan and wait for its end; a plan without changes is done already.

    Raises:
        StackFailed: the stack failed.
        UserError: CloudFormation refuses the change of a new stack.
    """
    if plan.is_new:
        _clear(client, plan.stack.name, poll_seconds)
        plan = request_changes(client, plan.stack, plan.role, poll_seconds, is_new=True)
    if not plan.change_set:
        log.info("  %s is as it is to be", plan.stack.name)
        return
    seen = {event["EventId"] for event in _events(client, plan.stack.name)}
    client.execute_change_set(ChangeSetName=plan.change_set)
    log.info("  %d changes of %s", len(plan.changes), plan.stack.name)
    status, new = _follow(client, plan.stack.name, seen, poll_seconds)
    if status not in _DONE:
        raise StackFailed(_failure(plan.stack.name, status, new))


def _follow(
    client: CloudFormation, name: str, seen: set[str], poll_seconds: float
) -> tuple[str, list[Mapping[str, Any]]]:
    """Log what happens until the stack has come to rest; return its state and the events, oldest first."""
    new: list[Mapping[str, Any]] = []
    begun = time.monotonic()
    while True:
        # The state before the events: what led to a final state is then among the events.
        status = stack_status(client, name)
        fresh = [event for event in _events(client, name) if event["EventId"] not in seen]
        for event in fresh:
            seen.add(event["EventId"])
            new.append(event)
            log.info(
                "  %4.0f s  %s %s %s",
                time.monotonic() - begun,
                event["ResourceStatus"],
                event["LogicalResourceId"],
                event.get("ResourceStatusReason", ""),
            )
        if status and not status.endswith("_IN_PROGRESS"):
            return status, new
        time.sleep(poll_seconds)


def _events(client: CloudFormation, name: str) -> list[Mapping[str, Any]]:
    pages = client.get_paginator("describe_stack_events").paginate(StackName=name)
    return [event for page in pages for event in page["StackEvents"]][::-1]


def _clear(client: CloudFormation, name: str, poll_seconds: float) -> None:
    """Remove what a failed first creation, or a change set never executed, has left of a stack."""
    if stack_status(client, name) not in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"):
        return
    log.info("  removing what an earlier attempt left of %s", name)
    client.delete_stack(StackName=name)
    while status := stack_status(client, name):
        if status == "DELETE_FAILED":
            raise UserError(f"{name} cannot be removed: see its events in the console, remove what holds it, try again")
        time.sleep(poll_seconds)


def first_causes(events: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the events that made a stack fail, oldest first, without those that only followed from another."""
    failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
    causes = [event for event in failed if "cancelled" not in event.get("ResourceStatusReason", "")]
    return causes or failed


def _failure(name: str, status: str, events: list[Mapping[str, Any]]) -> str:
    causes = first_causes(events)
    lines = [
        f"  {cause['LogicalResourceId']} ({cause['ResourceType']}): {cause.get('ResourceStatusReason', 'no reason')}"
        for cause in causes[:_CAUSES_SHOWN]
    ]
    more = [f"  and {len(causes) - _CAUSES_SHOWN} more"] if len(causes) > _CAUSES_SHOWN else []
    remedy = "the stacks before it are changed; mend the cause and deploy again, or go back with --undo"
    return "\n".join([f"{name} ended as {status}; {remedy}. What failed, first cause first:", *lines, *more])
