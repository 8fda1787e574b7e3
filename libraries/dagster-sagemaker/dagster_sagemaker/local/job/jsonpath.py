"""The subset of JSONPath that SageMaker's DataProcessing supports: parsed once, applied to each record.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html, "Supported JSONPath
operators". Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NAME = r"'[^']*'"
_ITEM = r"\d*:?\d*"
_STEP = re.compile(
    rf"\.(?P<name>[A-Za-z_][\w-]*)|\.\*|\.?\[(?:(?P<names>{_NAME}(?:\s*,\s*{_NAME})*)|(?P<items>{_ITEM}(?:\s*,\s*{_ITEM})*)|\*)\]"
)


class PathError(ValueError):
    """SageMaker does not support a path, or a record has nothing at a path."""


@dataclass(frozen=True)
class _Step:
    """One step of a path: to names, to indexes and open slices, or, without either, to all children."""

    names: Sequence[str] = ()
    items: Sequence[int | slice] = ()

    @property
    def is_single(self) -> bool:
        return len(self.names) == 1 or (len(self.items) == 1 and isinstance(self.items[0], int))

    def apply(self, value: Any) -> Any:
        if self.names:
            found = {name: _child(value, name) for name in self.names}
            return found[self.names[0]] if self.is_single else found
        if self.items:
            if not isinstance(value, list):
                raise PathError(f"an index leads into a value that is no array: {value!r}")
            chosen = [entry for item in self.items for entry in _entries(value, item)]
            return chosen[0] if self.is_single else chosen
        if not isinstance(value, dict | list):
            raise PathError(f"[*] leads into a value that is neither an object nor an array: {value!r}")
        return list(value.values()) if isinstance(value, dict) else value


@dataclass(frozen=True)
class Path:
    """A parsed path."""

    text: str
    _steps: Sequence[_Step]

    @property
    def is_identity(self) -> bool:
        """Whether it selects the whole record."""
        return not self._steps

    def select(self, record: Any) -> Any:
        """Return the part of a record at the path; if the path names several, an object or array of them.

        Raises:
            PathError: the record has no such part.
        """
        for step in self._steps:
            try:
                record = step.apply(record)
            except PathError as error:
                raise PathError(f"{self.text}: {error}") from error
        return record


def parse_path(text: str) -> Path:
    """Parse a path.

    Raises:
        PathError: SageMaker's documentation does not have it, or its page and JSONPath differ on the meaning.
    """
    if not text.startswith("$"):
        raise PathError(f"{text!r} does not begin with $")
    steps: list[_Step] = []
    position = 1
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise PathError(f"{text!r} cannot be understood from {text[position:]!r} on")
        if steps and not steps[-1].is_single:
            raise PathError(f"{text!r}: nothing may follow a choice of several children")
        steps.append(_step(match, text))
        position = match.end()
    return Path(text, tuple(steps))


def _step(match: re.Match[str], text: str) -> _Step:
    if match["name"]:
        return _Step(names=(match["name"],))
    if match["names"]:
        return _Step(names=tuple(re.findall(r"'([^']*)'", match["names"])))
    if match["items"] is not None:
        return _Step(items=tuple(_item(part.strip(), text) for part in match["items"].split(",")))
    return _Step()


def _item(part: str, text: str) -> int | slice:
    start, colon, end = part.partition(":")
    if not colon:
        if not start:
            raise PathError(f"{text!r} has an empty index")
        return int(start)
    if end:
        # AWS's page includes the end, JSONPath excludes it, so any use would surprise somebody.
        raise PathError(
            f"{text!r} has a slice with an end, on which AWS's page and JSONPath differ: leave the end open"
        )
    return slice(int(start or 0), None)


def _child(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise PathError(f"there is no {name!r}")
    return value[name]


def _entries(value: list[Any], item: int | slice) -> list[Any]:
    first = item if isinstance(item, int) else item.start
    if first >= len(value):
        raise PathError(f"there is no index {first} among {len(value)} entries")
    return [value[item]] if isinstance(item, int) else value[item]
