"""The trained GBM: its boosters, `predict`, `save` and `load`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from m5_assets.forecasting.atomic_files import write_text
from m5_assets.forecasting.features import NAMES
from m5_assets.forecasting.file_names import file_name
from m5_assets.forecasting.gbm.config import GBMConfig

GLOBAL = "global"
DESCRIPTION = "gbm.json"


@dataclass(frozen=True)
class GBMModel:
    """Trained boosters and what they were trained on.

    Attributes:
        boosters: one per member: `GLOBAL` and each department that was on sale on the training days.
        features: names of the F features, in the matrix's column order.
        departments: names of the departments, in the order of the codes of the feature `dept`.
        stores: names of the stores, in the order of the codes of the feature `store`.
        config: the hyperparameters it was trained with.
        trained_through: the last day whose sales it was trained on, ISO 8601.
        training_rows: number of rows it was trained on.
    """

    boosters: dict[str, lgb.Booster]
    features: tuple[str, ...]
    departments: tuple[str, ...]
    stores: tuple[str, ...]
    config: GBMConfig
    trained_through: str
    training_rows: int

    def predict(self, features: npt.NDArray[np.float32], departments: npt.NDArray[np.str_]) -> npt.NDArray[np.float32]:
        """Forecast the units of each row; zero before the release and where the store is closed.

        Args:
            features: (R, F) in the order of `self.features`.
            departments: (R,) names of the departments.

        Returns:
            (R,) daily units, not negative.

        Raises:
            ValueError: the number of features is wrong, or a department was not in the training data.
        """
        if features.ndim != 2 or features.shape[1] != len(self.features):
            raise ValueError(
                f"the model needs {len(self.features)} features per row; found an array of {features.shape}"
            )
        members = []
        if GLOBAL in self.boosters:
            members.append(self._predict(GLOBAL, features))
        if self.config.family != GLOBAL:
            members.append(self._predict_departments(features, departments))
        units = np.mean(members, axis=0)
        closed = features[:, self.features.index("closed")] > 0
        unreleased = np.isnan(features[:, self.features.index("days_since_release")])
        units[closed | unreleased] = 0.0
        return np.asarray(units, np.float32)

    def predict_frame(self, table: pa.Table) -> npt.NDArray[np.float32]:
        """Forecast the rows of a feature file (see `features.io`), with its key and feature columns.

        Raises:
            ValueError: a column is missing, or the codes stand for other stores or departments than in training.
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
        """Return each feature's share of the gain, averaged over the members, largest first; they sum to 1."""
        shares = []
        for member in self.boosters.values():
            gain = member.feature_importance("gain")
            shares.append(gain / max(gain.sum(), np.finfo(float).tiny))
        mean = np.mean(shares, axis=0)
        return {self.features[place]: round(float(mean[place]), 6) for place in np.argsort(-mean, kind="stable")}

    def save(self, directory: Path) -> None:
        """Write the boosters in LightGBM's text format, then the description; a directory without it has no model."""
        directory.mkdir(parents=True, exist_ok=True)
        for member, booster in self.boosters.items():
            write_text(directory / _file(member), booster.model_to_string())
        description = {
            "members": list(self.boosters),
            "features": self.features,
            "departments": self.departments,
            "stores": self.stores,
            "config": self.config.model_dump(),
            "trained_through": self.trained_through,
            "training_rows": self.training_rows,
            "importance": self.importance(),
        }
        write_text(directory / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> GBMModel:
        """Read a model written by `save`.

        Raises:
            ValueError: the directory has no model, or one that is damaged or whose features are not this version's.
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
                GBMConfig.from_hyperparameters(text["config"]),
                text["trained_through"],
                text["training_rows"],
            )
        except (KeyError, TypeError, ValueError, OSError, lgb.basic.LightGBMError) as problem:
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
                f"{found[wrong][0]!r} does not match the model's {feature} {codes[wrong][0]}: the stores or "
                "departments have changed since it was trained; train a new model for this week"
            )

    def _predict(self, member: str, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray(self.boosters[member].predict(features, num_threads=self.config.threads), np.float64)

    def _predict_departments(
        self, features: npt.NDArray[np.float32], departments: npt.NDArray[np.str_]
    ) -> npt.NDArray[np.float64]:
        units = np.zeros(len(features))
        for department in np.unique(departments).tolist():
            rows = departments == department
            units[rows] = self._predict(self.member_of(department), features[rows])
        return units

    def member_of(self, department: str) -> str:
        """Return the department's own member, or `GLOBAL` if the department was not on sale on the training days.

        Raises:
            ValueError: the department was not in the training data.
        """
        if department not in self.departments:
            raise ValueError(
                f"department {department!r} was not in the training data ({', '.join(self.departments)}); "
                "train a new model"
            )
        return department if department in self.boosters else GLOBAL


def _file(member: str) -> str:
    return "global.txt" if member == GLOBAL else f"department_{file_name(member)}.txt"


def _strings(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    return np.asarray(column.cast(pa.string()).to_pylist(), dtype=np.str_)
