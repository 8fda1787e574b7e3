"""A model's hyperparameters as run config, editable in Dagster's Launchpad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import dagster as dg
from pydantic import Field, create_model

from m5_assets.forecasting.hyperparameters import Hyperparameters

_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}


def launchpad_config(model: type[Hyperparameters], given: Mapping[str, str]) -> type[dg.Config]:
    """Return the config class of a model's asset: its hyperparameters, their limits and descriptions.

    Args:
        model: the model's hyperparameters.
        given: those set for this platform; they become the defaults that the Launchpad shows.

    Raises:
        ValueError: `given` has an unknown name or a value that cannot be used.
    """
    defaults = model.from_hyperparameters(given)
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        known = field.asdict()
        text = f"{field.description}{_limits(known['metadata'])}"
        attributes = known["attributes"] | {"default": getattr(defaults, name), "description": text}
        parts = (known["annotation"], *known["metadata"], Field(**attributes))
        fields[name] = Annotated[parts]
    made = create_model(model.__name__, __base__=(dg.Config, model), __doc__=model.__doc__, **fields)
    return cast("type[dg.Config]", made)


def training_hyperparameters(config: dg.Config, given: Mapping[str, str]) -> dict[str, str]:
    """Return the hyperparameters for a training job: the given ones, and those changed in the Launchpad.

    A run with untouched config returns exactly `given`, so its model has the same recipe as one without config.

    Args:
        config: an instance of the class that `launchpad_config` made from the same `given`.
        given: the hyperparameters set for this platform.
    """
    defaults = type(config).model_fields
    return {**given, **{name: str(value) for name, value in config if value != defaults[name].default}}


def _limits(metadata: list[Any]) -> str:
    """Return limits as words in brackets, such as " (at least 1)"; nothing for a field without limits."""
    words = [
        f"{word} {getattr(limit, name)}" for limit in metadata for name, word in _LIMITS.items() if hasattr(limit, name)
    ]
    return f" ({', '.join(words)})" if words else ""
