"""Gradient-boosted trees on the totals, each one model for all store-departments and horizons.

"trees" forecasts sales as a multiple of the recent mean. "stack" and "recent" forecast them as a multiple of the
ridge's forecast and so learn the ridge's errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.hierarchy import Floats
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.daily_totals import TotalsHistory
from m5_assets.forecasting.totals.regressors import NAMES, Builder

RIDGE_BOUNDS = (0.2, 5.0)
"""Bounds of the ridge's forecast as a multiple of the recent mean; the upper one also bounds the boosters' targets."""


@dataclass(frozen=True)
class Examples:
    """Training rows: features, the target as a multiple, and its weight."""

    matrix: npt.NDArray[np.float32]
    target: Floats
    weight: Floats


def examples(history: TotalsHistory, origins: npt.NDArray[np.int64], ridge: Floats | None) -> Examples:
    """Return the rows of past origins whose sales are known, without days on which the store was closed.

    Args:
        history: totals up to the training origin.
        origins: O past origins, as numbers of days known.
        ridge: (O, G, 28) the ridge's forecasts at those origins, to divide sales by; None to divide by the recent mean.
    """
    rows = Builder(history).build(origins)
    ahead = origins[:, None] + np.arange(HORIZON)
    known = (ahead < history.days)[:, None] & ~history.closed()[:, ahead].transpose(1, 0, 2)
    units = history.units[:, np.minimum(ahead, history.days - 1)].transpose(1, 0, 2).reshape(-1).astype(np.float64)
    matrix, base = rows.matrix, rows.base
    if ridge is not None:
        base, matrix = with_ridge(matrix, base, ridge.reshape(-1))
    keep = known.reshape(-1) & (base > 0)
    target = np.clip(units[keep] / base[keep], 0, RIDGE_BOUNDS[1])
    return Examples(matrix[keep], target, base[keep] / base[keep].mean())


def with_ridge(matrix: npt.NDArray[np.float32], base: Floats, ridge: Floats) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Return the bounded ridge forecast, and the features with it appended as a multiple of the recent mean."""
    bounded = np.clip(ridge, RIDGE_BOUNDS[0] * base, RIDGE_BOUNDS[1] * base)
    relative = np.divide(bounded, base, out=np.ones_like(base), where=base > 0)
    return bounded, np.column_stack([matrix, relative.astype(np.float32)])


def feature_names(with_ridge: bool) -> tuple[str, ...]:
    """Return the names of a booster's features, with or without the ridge's forecast."""
    return (*NAMES, "ridge") if with_ridge else NAMES


def train(
    rows: Examples, parameters: dict[str, Any], iterations: int, progress: Callable[[float], None]
) -> lgb.Booster:
    """Train a booster on the rows; `progress` is called with the share of iterations that are done."""

    def report(environment: lgb.callback.CallbackEnv) -> None:
        done = environment.iteration + 1
        if done % 25 == 0 or done == iterations:
            progress(done / iterations)

    names = list(feature_names(rows.matrix.shape[1] > len(NAMES)))
    data = lgb.Dataset(rows.matrix, rows.target, weight=rows.weight, feature_name=names, params=parameters)
    return lgb.train(parameters, data, num_boost_round=iterations, callbacks=[report])


def forecast(
    booster: lgb.Booster, history: TotalsHistory, ridge: npt.NDArray[np.float32] | None, threads: int
) -> npt.NDArray[np.float32]:
    """Return (G, 28) daily units after the history; zero where the store is closed.

    Args:
        booster: result of `train`.
        history: totals up to the origin.
        ridge: (G, 28) the ridge's forecast if the booster was trained with it, else None.
        threads: LightGBM's threads.
    """
    rows = Builder(history).build(np.array([history.days]))
    matrix, base = rows.matrix, rows.base
    if ridge is not None:
        base, matrix = with_ridge(matrix, base, ridge.reshape(-1).astype(np.float64))
    multiple = np.asarray(booster.predict(matrix, num_threads=threads), np.float64)
    units = np.maximum(multiple * base, 0).reshape(-1, HORIZON)
    units[history.closed()[:, history.days :]] = 0
    return units.astype(np.float32)
