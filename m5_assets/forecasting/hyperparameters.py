"""SageMaker's hyperparameters, which are all strings, as a model's typed settings. Not here: any model's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Self


class FromHyperparameters:
    """A frozen dataclass of settings, all with defaults, that can be read from strings."""

    @classmethod
    def from_hyperparameters(cls, hyperparameters: Mapping[str, str]) -> Self:
        """Read the strings that a SageMaker training job is given.

        Raises:
            ValueError: an unknown name, a value that is not of its setting's type, or one outside its limits.
        """
        kinds: dict[str, type] = {f.name: type(f.default) for f in fields(cls) if f.default is not MISSING}  # type: ignore[arg-type]  # every subclass is a dataclass
        unknown = sorted(set(hyperparameters) - set(kinds))
        if unknown:
            raise ValueError(f"unknown hyperparameters: {', '.join(unknown)}; known are {', '.join(kinds)}")
        values: dict[str, Any] = {}
        for name, text in hyperparameters.items():
            try:
                values[name] = kinds[name](text)
            except ValueError:
                kind = kinds[name].__name__
                raise ValueError(f"hyperparameter {name}={text!r} is not a number of type {kind}") from None
        return cls(**values)
