"""The ensemble: a weighted average of the models' forecasts. Not here: the models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


def weighted_average(
    forecasts: Mapping[str, npt.NDArray[np.float32]], weights: Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """Return the weighted average of forecasts of the same shape.

    Args:
        forecasts: by model, units, any shape, finite and not negative.
        weights: by model, not negative, summing to 1.

    Raises:
        ValueError: the weights do not fit, or a forecast is not finite or negative; the message names the model.
    """
    if set(weights) != set(forecasts) or min(weights.values()) < 0 or not np.isclose(sum(weights.values()), 1):
        raise ValueError(f"weights {dict(weights)} must be one a model of {sorted(forecasts)}, >= 0, and sum to 1")
    for name, units in forecasts.items():
        bad = int((~np.isfinite(units) | (units < 0)).sum())
        if bad:
            raise ValueError(f"{bad} forecasts of {name} are negative or not finite")
    average = sum(weights[name] * units.astype(np.float64) for name, units in forecasts.items())
    return np.asarray(average, np.float32)
