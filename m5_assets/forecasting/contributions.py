"""Explains the GBM's forecasts with TreeSHAP, as one factor per feature or family.

The Tweedie loss has a log link, so the trees add up logarithms and each feature contributes a factor: forecast = base x
the product of all features' factors.

Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine
Intelligence 2 (2020); computed by LightGBM itself (`predict(pred_contrib=True)`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.forecasting.features import CATALOGUE, compute
from m5_assets.forecasting.gbm.model import GLOBAL, GBMModel
from m5_assets.forecasting.gbm.training_rows import TrainingRows

Floats = npt.NDArray[np.float64]

SAMPLE_ROWS = 400
"""Training rows over which a family's mean effect is computed: M5's trees explain about 80 rows per second."""

_FAMILY = {feature.name: feature.family for feature in CATALOGUE}


@dataclass(frozen=True)
class Explanation:
    """The factors of R rows and F features.

    Attributes:
        features: F names.
        values: (R, F) the features.
        units: (R,) the model's forecast; zero where the store is closed or the item not yet released.
        logs: (R, F) natural logarithms of the factors, averaged over the members.
    """

    features: tuple[str, ...]
    values: npt.NDArray[np.float32]
    units: npt.NDArray[np.float32]
    logs: Floats

    @property
    def base(self) -> Floats:
        """(R,) units before any factor: units = base x the product of all factors.

        The base is the trees' mean over their training rows. The forecast is the members' arithmetic mean but the
        factors are their geometric mean; the base absorbs the small difference.
        """
        base: Floats = self.units * np.exp(-self.logs.sum(axis=1))
        return base

    def families(self) -> pd.DataFrame:
        """Return (R, families) logarithms of the families' factors, each the sum over its features."""
        frame = pd.DataFrame(self.logs.T)
        return frame.groupby([_FAMILY[name] for name in self.features], sort=False).sum().T


def explain(model: GBMModel, table: pa.Table) -> Explanation:
    """Return the explanation of the forecasts of a feature file's rows (see `features.io`).

    Raises:
        ValueError: as `GBMModel.predict_frame`.
    """
    matrix, departments = model.rows_of(table)
    return Explanation(model.features, matrix, model.predict(matrix, departments), _logs(model, matrix, departments))


def mean_effects(model: GBMModel, rows: TrainingRows) -> dict[str, float]:
    """Return each family's mean effect on a forecast, largest first: the mean absolute logarithm of its factor.

    An effect of 0.1 is a factor of about 1.1 or 0.9. The mean is over `SAMPLE_ROWS` of the training rows.
    """
    places = np.sort(np.random.default_rng(model.config.seed).permutation(len(rows))[:SAMPLE_ROWS])
    matrix = np.empty((len(places), len(model.features)), np.float32)
    for context, parts in rows.by_panel():
        for part in parts:
            here = slice(*np.searchsorted(places, [part.start, part.stop]))
            drawn = rows.rows.take(places[here])
            matrix[here] = compute(context, drawn, model.features, threads=model.config.threads)
    ends = [part.stop for part in rows.of_departments]
    departments = np.array(rows.departments)[np.searchsorted(ends, places, side="right")]
    units = model.predict(matrix, departments)
    families = Explanation(model.features, matrix, units, _logs(model, matrix, departments)).families()
    effects = families.abs().mean().sort_values(ascending=False, kind="stable")
    return {str(name): round(float(effect), 6) for name, effect in effects.items()}


def _logs(model: GBMModel, matrix: npt.NDArray[np.float32], departments: npt.NDArray[np.str_]) -> Floats:
    members = []
    if GLOBAL in model.boosters:
        members.append(_contributions(model, GLOBAL, matrix))
    if model.config.family != GLOBAL:
        own = np.empty(matrix.shape)
        for name in np.unique(departments).tolist():
            rows = departments == name
            own[rows] = _contributions(model, model.member_of(name), matrix[rows])
        members.append(own)
    mean: Floats = np.mean(members, axis=0)
    return mean


def _contributions(model: GBMModel, member: str, matrix: npt.NDArray[np.float32]) -> Floats:
    """Return (R, F) contributions without LightGBM's last column, the expected value, which belongs to the base."""
    booster = model.boosters[member]
    found = booster.predict(matrix, pred_contrib=True, num_threads=model.config.threads)
    return np.asarray(found, np.float64)[:, :-1]
