"""A model's hyperparameters as run config, editable in Dagster's Launchpad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import dagster as dg
from pydantic import Field, create_model

from m5_assets.forecasting.hyperparameters import Hyperparameters

_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}


def launchpad_config(model: type[Hyperparameters], given: Mapping[str, str]) -> type[dg.Config]:
    """Return the config class of a model's asset: its hyperparameters with their limits and descriptions.

    Args:
        model: the class of the model's hyperparameters.
        given: values from the settings; they become the defaults in the Launchpad.

    Raises:
        ValueError: `given` has an unknown name or an invalid value.
    """
    defaults = model.from_hyperparameters(given)
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        known = field.asdict()
        text = f"{field.description}{_limits(known['metadata'])}"
        attributes = known["attributes"] | {"default": getattr(defaults, name), "description": text}
        parts = (known["annotation"], *known["metadata"], Field(**attributes))
        fields[name] = Annotated[parts]
    config_class = create_model(model.__name__, __base__=(dg.Config, model), __doc__=model.__doc__, **fields)
    return cast("type[dg.Config]", config_class)


def training_hyperparameters(config: dg.Config, given: Mapping[str, str]) -> dict[str, str]:
    """Return the hyperparameters of a training job: the settings' values and the changes from the Launchpad.

    With an unchanged config this is exactly `given`, so the model has the same recipe as one trained without config.

    Args:
        config: an instance of the class that `launchpad_config` returned for the same `given`.
        given: values from the settings.
    """
    defaults = type(config).model_fields
    return {**given, **{name: str(value) for name, value in config if value != defaults[name].default}}


def _limits(metadata: list[Any]) -> str:
    """Return a field's limits in words, such as " (at least 1)"; empty for a field without limits."""
    words = [
        f"{word} {getattr(limit, name)}" for limit in metadata for name, word in _LIMITS.items() if hasattr(limit, name)
    ]
    return f" ({', '.join(words)})" if words else ""
