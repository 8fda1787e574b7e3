"""How the GBM is trained: the rows drawn from a panel, their features, a booster for each member.

Every training row is a series, a day and a horizon drawn from 1 to 28, with the features as of that day's origin: one
model then serves all horizons, and sees recent sales where they are known.

Here: `fit` and `training_rows`. Not here: the features (`features`), what an interrupted training leaves
(`checkpoints`), the program that runs inside a job (`containers`).
"""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.checkpoints import FinishedBoosters, training_digest
from m5_assets.forecasting.features import MODEL_FEATURES, Context, Rows, compute
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.gbm.model import GLOBAL, GBMModel
from m5_assets.forecasting.panel import HORIZON, Panel
from m5_assets.forecasting.progress import Progress, phases

logger = logging.getLogger(__name__)

FEATURES_EFFORT = 17
"""What computing a row's features costs, in the time a tree takes for a row."""
MIN_HISTORY = 56
"""Days of the panel before the first training day, so that the windows hold something."""


def fit(panel: Panel, config: GBMConfig, progress: Progress, checkpoints: Path | None = None) -> GBMModel:
    """Train on the panel's last days.

    The same panel and configuration give the same model, byte for byte. Memory grows with the series by the panel's
    arrays and their context (8 bytes a series and day) and, up to `max_rows`, by the rows: four bytes a row and feature
    for the matrix and one for LightGBM's bins, 280 bytes a row (1.2 GB for the 4.4 million of the M5, at most 1.7 GB).

    Args:
        panel: all series, up to the origin.
        config: see `GBMConfig`.
        progress: told of each step.
        checkpoints: a folder. With it each finished booster is kept there, and a training that finds boosters of an
            earlier one with the same settings and data takes them, to the same model.

    Raises:
        ValueError: the panel is too short to train on, or no member would forecast a department that has no rows.
    """
    finished = FinishedBoosters(checkpoints, training_digest(panel, config))
    context = Context.build(panel)
    rows = training_rows(context, config)
    departments = sorted(panel.series["dept_id"].unique().tolist())
    code = context.codes["dept"][rows.series]
    bounds = np.searchsorted(code, np.arange(len(departments) + 1))
    logger.info("training on %s rows of %s features", f"{len(rows):,}", len(MODEL_FEATURES))

    trees = {GLOBAL: 0 if config.family == "departments" else config.iterations * len(rows)}
    sizes = np.diff(bounds) if config.family != GLOBAL else np.zeros(len(departments))
    trees |= dict(zip(departments, config.department_iterations * sizes, strict=True))
    made, *fitted = phases(progress, [FEATURES_EFFORT * len(rows), *trees.values()])
    told = dict(zip(trees, fitted, strict=True))

    parts = [slice(*ends) for ends in pairwise(bounds.tolist())]
    matrices = []
    for department, part in zip(departments, parts, strict=True):
        matrices.append(compute(context, rows[part], MODEL_FEATURES, threads=config.threads))
        made(f"features of {department}", part.stop / len(rows))
    units = context.sales[rows.series, rows.day]
    stores = tuple(context.stores)
    del context

    boosters = {}
    if config.family != "departments":
        parameters = config.booster_parameters(config.leaves, config.min_leaf_rows)
        boosters[GLOBAL] = _train(GLOBAL, matrices, units, parameters, config.iterations, told[GLOBAL], finished)
    if config.family != GLOBAL:
        parameters = config.booster_parameters(config.department_leaves, config.department_min_leaf_rows)
        for name, part, matrix in zip(departments, parts, matrices, strict=True):
            if not len(matrix):
                _without_rows(name, boosters)
                continue
            iterations = config.department_iterations
            boosters[name] = _train(name, [matrix], units[part], parameters, iterations, told[name], finished)
    return GBMModel(
        boosters,
        MODEL_FEATURES,
        tuple(departments),
        stores,
        config,
        panel.origin.date().isoformat(),
        len(rows),
    )


def _without_rows(department: str, boosters: dict[str, lgb.Booster]) -> None:
    if GLOBAL not in boosters:
        raise ValueError(f"department {department!r} was not on sale on the training days; train with family=both")
    logger.warning("department %s was not on sale on the training days: the global member forecasts it", department)


def training_rows(context: Context, config: GBMConfig) -> Rows:
    """Draw rows from the last days: series on sale, not on 25 December, each with a horizon drawn from 1 to 28.

    Returns:
        The rows, ordered by department, then series, then day.
    """
    first = max(context.days - config.training_days, MIN_HISTORY)
    if first >= context.days:
        raise ValueError(f"the panel has {context.days} days; training needs more than {MIN_HISTORY}")
    rng = np.random.default_rng(config.seed)
    days = np.arange(first, context.days, dtype=np.int32)
    closed = np.char.endswith(np.datetime_as_string(context.dates[days], unit="D"), "12-25")
    share = min(config.sample_share, config.max_rows / (len(context.sales) * len(days)))
    drawn = rng.random((len(context.sales), len(days)), np.float32) < share
    drawn &= (context.release[:, None] <= days) & ~closed
    order = np.argsort(context.codes["dept"], kind="stable").astype(np.int32)
    place, column = np.nonzero(drawn[order])
    if not len(place):
        raise ValueError("no series was on sale on the training days")
    horizon = rng.integers(1, HORIZON + 1, len(place), dtype=np.int32)
    return Rows(order[place], days[column], horizon)


def _train(
    name: str,
    matrices: list[npt.NDArray[np.float32]],
    units: npt.NDArray[np.float32],
    parameters: dict[str, Any],
    iterations: int,
    progress: Progress,
    finished: FinishedBoosters,
) -> lgb.Booster:
    known = finished.load(name)
    if known is not None:
        progress(f"{name}: taken from a checkpoint", 1.0)
        return lgb.Booster(model_str=known)

    def report(environment: lgb.callback.CallbackEnv) -> None:
        done = environment.iteration + 1
        if done % 10 == 0 or done == iterations:
            progress(f"{name}: {done} of {iterations} trees", done / iterations)

    filled = [matrix for matrix in matrices if len(matrix)]
    data = lgb.Dataset(filled, units, feature_name=list(MODEL_FEATURES), params=parameters)
    booster = lgb.train(parameters, data, num_boost_round=iterations, callbacks=[report])
    finished.save(name, booster.model_to_string())
    return booster
