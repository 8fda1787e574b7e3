"""The base class of every model's hyperparameters. Not here: the hyperparameters of any one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError


class Hyperparameters(BaseModel):
    """Frozen hyperparameters: every field has a default and, where it needs them, limits.

    They are also run config: a class that inherits from this one and from `dagster.Config` shows them in the Launchpad.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_hyperparameters(cls, values: Mapping[str, object]) -> Self:
        """Return the hyperparameters with these values; a number may be text, as in SageMaker's training jobs.

        Raises:
            ValueError: a name is unknown, or a value has the wrong type or lies outside its limits.
        """
        unknown = sorted(set(values) - set(cls.model_fields))
        if unknown:
            raise ValueError(f"unknown hyperparameters: {', '.join(unknown)}; known are {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as problem:
            lines = [f"hyperparameter {e['loc'][0]}={e['input']!r}: {e['msg']}" for e in problem.errors()]
            raise ValueError("; ".join(lines)) from None
