"""A small evaluator of IAM policies: what a role may do, by its policies and permissions boundary in one account.

An explicit Deny wins, then an Allow; the default is to deny
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html). Unknown elements and
operators raise an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Context = Mapping[str, str]
"""Values of condition keys in a request, such as `iam:PassedToService`."""

_KNOWN = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Rights:
    """A role's permissions.

    Attributes:
        policies: its policy documents.
        boundary: its permissions boundary, which limits what the policies can allow; None without one.
    """

    policies: Sequence[Mapping[str, Any]]
    boundary: Mapping[str, Any] | None = None


def allows(rights: Rights, action: str, resource: str, context: Context | None = None) -> bool:
    """Return whether a role with these rights may perform this action."""
    within = rights.boundary is None or _decide([rights.boundary], action, resource, context or {})
    return within and _decide(rights.policies, action, resource, context or {})


def _decide(documents: Sequence[Mapping[str, Any]], action: str, resource: str, context: Context) -> bool:
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _listed(document["Statement"])
        if _applies(statement, action, resource, context)
    }
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    if unknown := set(statement) - _KNOWN:
        raise NotImplementedError(f"the evaluator does not support the policy elements {unknown}")
    return (
        any(_like(pattern.lower(), action.lower()) for pattern in _listed(statement["Action"]))
        and any(_like(pattern, resource) for pattern in _listed(statement["Resource"]))
        and all(
            _holds(operator, key, [str(value) for value in _listed(values)], context)
            for operator, test in statement.get("Condition", {}).items()
            for key, values in test.items()
        )
    )


def _holds(operator: str, key: str, values: list[str], context: Context) -> bool:
    if operator == "Null":
        return (key not in context) == (values == ["true"])
    if operator.endswith("IfExists") and key not in context:
        return True
    compare: dict[str, Callable[[str, str], bool]] = {
        "StringEquals": str.__eq__,
        "ForAnyValue:StringEquals": str.__eq__,
        "StringLike": _like,
        "ArnEquals": _like,
        "ArnLike": _like,
        "Bool": lambda pattern, value: pattern.lower() == value.lower(),
    }
    operator = operator.removesuffix("IfExists")
    if operator not in compare:
        raise NotImplementedError(f"the evaluator does not support the operator {operator}")
    return key in context and any(compare[operator](value, context[key]) for value in values)


def _like(pattern: str, value: str) -> bool:
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
