"""Strict validation of a SageMaker request before it is sent.

Checks every limit in botocore's service model; botocore itself checks types, required and unknown members, and minima,
but no maximum, pattern or enumeration. Quotas, roles and whether an image exists can only be checked by AWS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from botocore.client import BaseClient
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

from dagster_sagemaker.aws_rules import rule_problems, shown


class RequestValidationError(ValueError):
    """A request breaks limits of the service; the message lists all of them.

    Attributes:
        operation_name: the API operation, such as `CreateProcessingJob`.
        problems: one line per broken limit, with field path, shortened value and limit.
    """

    def __init__(self, operation_name: str, problems: Sequence[str]):
        self.operation_name = operation_name
        self.problems = tuple(problems)
        super().__init__(f"{operation_name}: {len(problems)} invalid value(s):\n- " + "\n- ".join(problems))


def validate(
    client_or_service_model: BaseClient | ServiceModel, operation_name: str, params: Mapping[str, Any]
) -> None:
    """Check a request against all known limits of its operation.

    Args:
        client_or_service_model: the boto3 client that will send the request, or botocore's service model.
        operation_name: the API operation, such as `CreateProcessingJob`.
        params: the request, as given to the client's method.

    Raises:
        RequestValidationError: the request breaks at least one limit; all are listed.
    """
    model = (
        client_or_service_model
        if isinstance(client_or_service_model, ServiceModel)
        else client_or_service_model.meta.service_model
    )
    shape = model.operation_model(operation_name).input_shape
    if shape is None:
        return
    report = ParamValidator().validate(dict(params), shape)
    problems: list[str] = report.generate_report().splitlines() if report.has_errors() else []
    problems.extend(_shape_problems(shape, params, ""))
    problems.extend(rule_problems(operation_name, params))
    if problems:
        raise RequestValidationError(operation_name, problems)


def uncompilable_patterns(model: ServiceModel, operation_name: str) -> Mapping[str, str]:
    """Return the patterns of an operation's input that `validate` skips because Python cannot compile them.

    AWS writes some patterns in Java's dialect, with Unicode categories.

    Returns:
        Patterns by shape name. Tags, the only such shapes that jobs commonly use, have a rule in `aws_rules`.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()

    def walk(shape: Shape) -> None:
        if shape.name in seen:
            return
        seen.add(shape.name)
        pattern = shape.metadata.get("pattern")
        if pattern is not None and _compiled(pattern) is None:
            found[shape.name] = pattern
        for child in _child_shapes(shape):
            walk(child)

    input_shape = model.operation_model(operation_name).input_shape
    if input_shape is not None:
        walk(input_shape)
    return found


def _child_shapes(shape: Shape) -> Sequence[Shape]:
    if isinstance(shape, StructureShape):
        return list(shape.members.values())
    if isinstance(shape, ListShape):
        return [shape.member]
    if isinstance(shape, MapShape):
        return [shape.key, shape.value]
    return []


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _shape_problems(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Yield the broken limits of the service model; botocore itself reports values of a wrong type."""
    if isinstance(shape, StringShape) and isinstance(value, str):
        yield from _string_problems(shape, value, path)
    elif isinstance(shape, ListShape | MapShape) and isinstance(value, list | tuple | Mapping):
        yield from _maximum_problem(shape, len(value), "entries", path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _maximum_problem(shape, value, "given", path)
    for child, item, item_path in _children(shape, value, path):
        yield from _shape_problems(child, item, item_path)


def _children(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        for name, member in shape.members.items():
            if name in value:
                yield member, value[name], f"{path}.{name}".lstrip(".")
    elif isinstance(shape, ListShape) and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield shape.member, item, f"{path}[{index}]"
    elif isinstance(shape, MapShape) and isinstance(value, Mapping):
        for key, item in value.items():
            yield shape.key, key, f"{path} (key {shown(str(key))})"
            yield shape.value, item, f"{path}.{key}"


def _maximum_problem(shape: Shape, number: float, unit: str, path: str) -> Iterator[str]:
    limit = shape.metadata.get("max")
    if limit is not None and number > limit:
        yield f"{path}: {number} {unit}, the maximum is {limit}"


def _string_problems(shape: StringShape, value: str, path: str) -> Iterator[str]:
    # An environment may hold secrets, so only the length of its values is shown.
    quoted = f"<{len(value)} characters>" if _is_secret(shape) else shown(value)
    limit = shape.metadata.get("max")
    if limit is not None and len(value) > limit:
        yield f"{path}: {quoted} has {len(value)} characters, the maximum is {limit}"
    pattern = shape.metadata.get("pattern")
    compiled = _compiled(pattern) if pattern is not None else None
    if compiled is not None and compiled.fullmatch(value) is None:
        yield f"{path}: {quoted} does not match the pattern {pattern}"
    if shape.enum and value not in shape.enum:
        yield f"{path}: {quoted} is not one of {_shown_choices(value, shape.enum)}"


def _is_secret(shape: Shape) -> bool:
    return bool(shape.metadata.get("sensitive")) or "Environment" in shape.name


def _shown_choices(value: str, choices: Sequence[str], shown: int = 12) -> str:
    """Return a dozen choices, similar ones first; there are over two hundred instance types."""
    prefix = value[:5]
    ranked = sorted(choices, key=lambda choice: (not choice.startswith(prefix), choice))
    more = f", … ({len(choices)} in all)" if len(choices) > shown else ""
    return ", ".join(ranked[:shown]) + more
