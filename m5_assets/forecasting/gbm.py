"""The gradient-boosted forecaster: one LightGBM over all series, averaged with one for each department.

Here: its configuration, its training rows, fit, predict, save and load. Not here: the features (`features`), the blend
with other models (`ensemble`), the program that runs inside a job (`containers`).

Every training row is a series, a day and a horizon drawn from 1 to 28, with the features as of that day's origin: one
model then serves all horizons, and sees recent sales where they are known.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from m5_assets.forecasting.checkpoints import FinishedBoosters, training_digest
from m5_assets.forecasting.features import MODEL_FEATURES, NAMES, Context, Rows, compute
from m5_assets.forecasting.files import write_text
from m5_assets.forecasting.hyperparameters import FromHyperparameters
from m5_assets.forecasting.panel import HORIZON, Panel
from m5_assets.forecasting.progress import Progress, phases

logger = logging.getLogger(__name__)

FEATURES_EFFORT = 60
"""What computing a row's features costs, in the time a tree takes for a row."""

Family = Literal["both", "global", "departments"]

GLOBAL = "global"
DESCRIPTION = "gbm.json"
MIN_HISTORY = 56
"""Days of the panel before the first training day, so that the windows hold something."""


@dataclass(frozen=True)
class GBMConfig(FromHyperparameters):
    """What training depends on, besides the panel.

    Attributes:
        seed: of the sample of rows and of LightGBM's own samples.
        family: "global" (one model), "departments" (one a department) or "both", averaged with equal weight.
        training_days: days before the origin that rows are drawn from.
        sample_share: share of the live rows (released, not Christmas) drawn.
        max_rows: the share is lowered where it would draw more rows than this, which bounds the memory of training.
        learning_rate: shrinkage of both members.
        iterations: trees of the global model.
        leaves: leaves of its trees.
        min_leaf_rows: fewest rows in one of its leaves.
        department_iterations: trees of a department's model.
        department_leaves: leaves of its trees.
        department_min_leaf_rows: fewest rows in one of its leaves.
        feature_fraction: share of the features tried by a tree.
        bagging_fraction: share of the rows a tree sees.
        max_bin: bins of a feature.
        l2: penalty on a leaf's value.
        tweedie_power: variance power of the Tweedie loss, 1 (Poisson) to 2 (gamma), both excluded.
        threads: of features and of LightGBM; part of the result, as sums are rounded in the threads' order.
    """

    seed: int = 1
    family: Family = "both"
    training_days: int = 364
    sample_share: float = 0.4
    max_rows: int = 6_000_000
    learning_rate: float = 0.08
    iterations: int = 125
    leaves: int = 127
    min_leaf_rows: int = 200
    department_iterations: int = 110
    department_leaves: int = 63
    department_min_leaf_rows: int = 100
    feature_fraction: float = 0.4
    bagging_fraction: float = 0.6
    max_bin: int = 100
    l2: float = 0.1
    tweedie_power: float = 1.1
    threads: int = 2

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise ValueError(f"family must be one of {', '.join(get_args(Family))}; found {self.family!r}")
        for name in ("sample_share", "learning_rate", "feature_fraction", "bagging_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie above 0 and be at most 1; found {getattr(self, name)}")
        for name in ("training_days", "max_rows", "iterations", "department_iterations", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; found {getattr(self, name)}")
        for name in ("leaves", "department_leaves", "max_bin"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2; found {getattr(self, name)}")
        if not 1 < self.tweedie_power < 2:
            raise ValueError(f"tweedie_power must lie between 1 and 2; found {self.tweedie_power}")

    def booster_parameters(self, leaves: int, min_leaf_rows: int) -> dict[str, Any]:
        """Return LightGBM's parameters for a model with leaves of this number and size."""
        return {
            "objective": "tweedie",
            "tweedie_variance_power": self.tweedie_power,
            "learning_rate": self.learning_rate,
            "num_leaves": leaves,
            "min_data_in_leaf": min_leaf_rows,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "max_bin": self.max_bin,
            "lambda_l2": self.l2,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,  # measured faster here, and the automatic choice would depend on a stopwatch
            "metric": "none",
            "verbosity": -1,
        }


@dataclass(frozen=True)
class GBMModel:
    """Trained boosters and what they were trained on.

    Attributes:
        boosters: by member: `GLOBAL`, and the department's name.
        features: the F columns, in the order of the matrix.
        departments: names in the order of the feature `dept`.
        stores: names in the order of the feature `store`.
        config: the configuration it was trained with.
        trained_through: the last day whose sales it has seen, ISO 8601.
        training_rows: rows it was trained on.
    """

    boosters: dict[str, lgb.Booster]
    features: tuple[str, ...]
    departments: tuple[str, ...]
    stores: tuple[str, ...]
    config: GBMConfig
    trained_through: str
    training_rows: int

    def predict(self, features: npt.NDArray[np.float32], departments: npt.NDArray[np.str_]) -> npt.NDArray[np.float32]:
        """Forecast units of each row; zero before the release and on 25 December, when the stores are closed.

        Args:
            features: (R, F) in the order of `self.features`.
            departments: (R,) names.

        Returns:
            (R,) units, not negative.
        """
        if features.ndim != 2 or features.shape[1] != len(self.features):
            raise ValueError(f"the model needs {len(self.features)} features a row; found an array {features.shape}")
        members = []
        if GLOBAL in self.boosters:
            members.append(self._predict(GLOBAL, features))
        if self.config.family != GLOBAL:
            members.append(self._predict_departments(features, departments))
        units = np.mean(members, axis=0)
        closed = features[:, self.features.index("is_christmas")] > 0
        unreleased = np.isnan(features[:, self.features.index("days_since_release")])
        units[closed | unreleased] = 0.0
        return np.asarray(units, np.float32)

    def predict_frame(self, table: pa.Table) -> npt.NDArray[np.float32]:
        """Forecast the rows of a feature file (see `features.io`): key columns and feature columns.

        Raises:
            ValueError: a column is missing, or the codes mean other stores or departments than in training.
        """
        return self.predict(*self.rows_of(table))

    def rows_of(self, table: pa.Table) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]:
        """Return the features and departments of a feature file's rows, as `predict` takes them.

        Raises:
            ValueError: as `predict_frame`.
        """
        missing = [name for name in ("store_id", "dept_id", *self.features) if name not in table.column_names]
        if missing:
            raise ValueError(f"feature columns are missing: {', '.join(missing)}; the model was trained with them")
        matrix = np.empty((table.num_rows, len(self.features)), np.float32)
        for place, name in enumerate(self.features):
            matrix[:, place] = table[name].to_numpy()
        departments = _strings(table["dept_id"])
        self._check_codes("dept", self.departments, matrix, departments)
        self._check_codes("store", self.stores, matrix, _strings(table["store_id"]))
        return matrix, departments

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the gain, mean over the members, largest first; the sum is 1."""
        shares = []
        for member in self.boosters.values():
            gain = member.feature_importance("gain")
            shares.append(gain / max(gain.sum(), np.finfo(float).tiny))
        mean = np.mean(shares, axis=0)
        return {self.features[place]: round(float(mean[place]), 6) for place in np.argsort(-mean, kind="stable")}

    def save(self, directory: Path) -> None:
        """Write the boosters as LightGBM's text, and the description last: a directory without it is no model."""
        directory.mkdir(parents=True, exist_ok=True)
        for member, booster in self.boosters.items():
            write_text(directory / _file(member), booster.model_to_string())
        description = {
            "members": list(self.boosters),
            "features": self.features,
            "departments": self.departments,
            "stores": self.stores,
            "config": dataclasses.asdict(self.config),
            "trained_through": self.trained_through,
            "training_rows": self.training_rows,
            "importance": self.importance(),
        }
        write_text(directory / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> GBMModel:
        """Read a model written by `save`.

        Raises:
            ValueError: the directory holds no model, or one whose features are not this version's.
        """
        path = directory / DESCRIPTION
        if not path.is_file():
            raise ValueError(f"{directory}: no gradient-boosted model here ({DESCRIPTION} is missing); train one first")
        try:
            text = json.loads(path.read_text())
            members = text["members"]
            model = cls(
                {member: lgb.Booster(model_str=(directory / _file(member)).read_text()) for member in members},
                tuple(text["features"]),
                tuple(text["departments"]),
                tuple(text["stores"]),
                GBMConfig(**text["config"]),
                text["trained_through"],
                text["training_rows"],
            )
        except (KeyError, TypeError, OSError, json.JSONDecodeError, lgb.basic.LightGBMError) as problem:
            raise ValueError(f"{directory}: the model cannot be read ({problem!r}); train it again") from problem
        model._check_features(directory)
        return model

    def _check_features(self, directory: Path) -> None:
        unknown = [name for name in self.features if name not in NAMES]
        if unknown:
            raise ValueError(f"{directory}: features this version lacks: {', '.join(unknown)}; train the model again")
        for member, booster in self.boosters.items():
            if tuple(booster.feature_name()) != self.features:
                raise ValueError(
                    f"{directory / _file(member)}: its features are not those of {DESCRIPTION}; train the model again"
                )

    def _check_codes(
        self, feature: str, names: tuple[str, ...], matrix: npt.NDArray[np.float32], found: npt.NDArray[np.str_]
    ) -> None:
        codes = matrix[:, self.features.index(feature)].astype(int)
        inside = (codes >= 0) & (codes < len(names))
        wrong = ~inside | (np.array(names)[np.where(inside, codes, 0)] != found)
        if wrong.any():
            raise ValueError(
                f"{found[wrong][0]!r} is not what the model knows as {feature} {codes[wrong][0]}: the stores or "
                "departments have changed since it was trained; train a new model for this week"
            )

    def _predict(self, member: str, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray(self.boosters[member].predict(features, num_threads=self.config.threads), np.float64)

    def _predict_departments(
        self, features: npt.NDArray[np.float32], departments: npt.NDArray[np.str_]
    ) -> npt.NDArray[np.float64]:
        units = np.zeros(len(features))
        for department in np.unique(departments).tolist():
            if department not in self.boosters:
                raise ValueError(
                    f"department {department!r} was not in the training data ({', '.join(self.departments)}); "
                    "train a new model"
                )
            rows = departments == department
            units[rows] = self._predict(department, features[rows])
        return units


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
        ValueError: the panel is too short to train on.
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

    matrix = np.empty((len(rows), len(MODEL_FEATURES)), np.float32)
    for place in range(len(departments)):
        part = slice(bounds[place], bounds[place + 1])
        compute(context, rows[part], MODEL_FEATURES, threads=config.threads, out=matrix[part])
        made(f"features of {departments[place]}", float(bounds[place + 1] / len(rows)))
    units = context.sales[rows.series, rows.day]
    stores = tuple(context.stores)
    del context

    boosters = {}
    if config.family != "departments":
        parameters = config.booster_parameters(config.leaves, config.min_leaf_rows)
        boosters[GLOBAL] = _train(GLOBAL, matrix, units, parameters, config.iterations, told[GLOBAL], finished)
    if config.family != GLOBAL:
        parameters = config.booster_parameters(config.department_leaves, config.department_min_leaf_rows)
        for place, name in enumerate(departments):
            part = slice(bounds[place], bounds[place + 1])
            iterations = config.department_iterations
            boosters[name] = _train(name, matrix[part], units[part], parameters, iterations, told[name], finished)
    return GBMModel(
        boosters,
        MODEL_FEATURES,
        tuple(departments),
        stores,
        config,
        panel.origin.date().isoformat(),
        len(rows),
    )


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
    matrix: npt.NDArray[np.float32],
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

    data = lgb.Dataset(matrix, units, feature_name=list(MODEL_FEATURES), params=parameters)
    booster = lgb.train(parameters, data, num_boost_round=iterations, callbacks=[report])
    finished.save(name, booster.model_to_string())
    return booster


def _file(member: str) -> str:
    return "global.txt" if member == GLOBAL else f"department_{member}.txt"


def _strings(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    return np.asarray(column.cast(pa.string()).to_pylist(), dtype=np.str_)
