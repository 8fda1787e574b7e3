"""Settings that exist once per model or job kind: adds their fields to a settings class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, create_model

_Model = TypeVar("_Model", bound=BaseModel)


def with_fields(fields: Mapping[str, tuple[Any, Any]]) -> Callable[[type[_Model]], type[_Model]]:
    """Return a class decorator that adds fields.

    Args:
        fields: by name, the type and the default or `pydantic.Field`, as `pydantic.create_model` takes them.
    """

    def add(cls: type[_Model]) -> type[_Model]:
        members: dict[str, Any] = dict(fields)
        return create_model(cls.__name__, __base__=cls, __module__=cls.__module__, __doc__=cls.__doc__, **members)

    return add
