"""Trains the GBM: computes the features of its rows and fits a booster per member.

Not here: which rows are drawn (`training_rows`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.checkpoints import FinishedBoosters, training_digest
from m5_assets.forecasting.features import MODEL_FEATURES, compute
from m5_assets.forecasting.gbm.matrix import BatchDataset, DiskMatrix
from m5_assets.forecasting.gbm.model import GLOBAL, GBMModel
from m5_assets.forecasting.gbm.training_rows import TrainingRows
from m5_assets.forecasting.progress import Progress, phases

logger = logging.getLogger(__name__)

FEATURES_EFFORT = 17
"""Cost of computing a row's features, in units of the time a tree takes per row."""


def fit(rows: TrainingRows, progress: Progress, checkpoints: Path | None = None) -> GBMModel:
    """Train on rows, with the hyperparameters that they were drawn with.

    The same rows and hyperparameters give the same model, byte for byte, however the stores are divided into panels.
    Memory holds one panel at a time, the groups' aggregates, and the positions and LightGBM bins of up to `max_rows`
    rows; their features go through a temporary file (`matrix`).

    Args:
        rows: rows drawn from the panels' last days; the panels are iterated again.
        progress: called after each step.
        checkpoints: folder in which to keep finished boosters. Boosters found there from an earlier run with the same
            hyperparameters and data are reused, which gives the same model. None keeps nothing.

    Raises:
        ValueError: the panels cannot be iterated again, or a department has no rows and there is no global member.
        OSError: there is no space for the temporary file.
    """
    logger.info("training on %s rows of %s features", f"{len(rows):,}", len(MODEL_FEATURES))
    finished = FinishedBoosters(checkpoints, training_digest(rows.digests, rows.config))
    with DiskMatrix(len(rows), len(MODEL_FEATURES)) as matrix:
        boosters = _boosters(rows, matrix, progress, finished)
    return GBMModel(boosters, MODEL_FEATURES, rows.departments, rows.stores, rows.config, rows.origin, len(rows))


def _boosters(
    rows: TrainingRows, matrix: DiskMatrix, progress: Progress, finished: FinishedBoosters
) -> dict[str, lgb.Booster]:
    config = rows.config
    parts = dict(zip(rows.departments, rows.of_departments, strict=True)) if config.family != GLOBAL else {}
    trees = {name: config.department_iterations * (part.stop - part.start) for name, part in parts.items()}
    whole = config.iterations * len(rows) if config.family != "departments" else 0
    on_features, on_global, *on_departments = phases(progress, [FEATURES_EFFORT * len(rows), whole, *trees.values()])
    units = _write_features(rows, matrix, config.threads, on_features)

    boosters = {}
    if config.family != "departments":
        parameters = config.booster_parameters(config.leaves, config.min_leaf_rows)
        every = matrix.part(0, len(rows))
        boosters[GLOBAL] = _train(GLOBAL, every, units, parameters, config.iterations, on_global, finished)
    parameters = config.booster_parameters(config.department_leaves, config.department_min_leaf_rows)
    for (name, part), report in zip(parts.items(), on_departments, strict=True):
        if not units[part].any():  # Tweedie loss is undefined without a sale
            _without_sales(name, boosters)
            continue
        if GLOBAL in boosters and part.stop - part.start < 2 * config.department_min_leaf_rows:
            logger.warning("department %s is too new for a tree of its own; the global member forecasts it", name)
            continue
        own = matrix.part(part.start, part.stop)
        boosters[name] = _train(name, own, units[part], parameters, config.department_iterations, report, finished)
    return boosters


def _write_features(
    rows: TrainingRows, matrix: DiskMatrix, threads: int, progress: Progress
) -> npt.NDArray[np.float32]:
    """Fill the matrix and return (R,) the units sold."""
    units, done = np.empty(len(rows), np.float32), 0
    for context, parts in rows.by_panel():
        for part in parts:
            block = rows.rows[part]
            matrix.write(part.start, compute(context, block, MODEL_FEATURES, threads=threads))
            units[part] = context.sales[block.series, block.day]
            done += len(block)
        progress(f"features of {context.stores[-1]}", done / len(rows))
    return units


def _without_sales(department: str, boosters: dict[str, lgb.Booster]) -> None:
    if GLOBAL not in boosters:
        raise ValueError(f"department {department!r} had no sales on the training days; train with family=both")
    logger.warning("department %s had no sales on the training days; the global member forecasts it", department)


def _train(
    name: str,
    matrix: lgb.Sequence,
    units: npt.NDArray[np.float32],
    parameters: dict[str, Any],
    iterations: int,
    progress: Progress,
    finished: FinishedBoosters,
) -> lgb.Booster:
    known = finished.load(name)
    if known is not None:
        progress(f"{name}: loaded from a checkpoint", 1.0)
        return lgb.Booster(model_str=known)

    def report(environment: lgb.callback.CallbackEnv) -> None:
        done = environment.iteration + 1
        if done % 10 == 0 or done == iterations:
            progress(f"{name}: {done} of {iterations} trees", done / iterations)

    data = BatchDataset(matrix, units, feature_name=list(MODEL_FEATURES), params=parameters)
    booster = lgb.train(parameters, data, num_boost_round=iterations, callbacks=[report])
    finished.save(name, booster.model_to_string())
    return booster
