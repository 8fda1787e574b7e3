"""What the GBM's training depends on besides the panel.

Here: the settings, their checks and what LightGBM is told of them. Not here: training (`training`), the trained model
(`model`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from m5_assets.forecasting.hyperparameters import FromHyperparameters

Family = Literal["both", "global", "departments"]


@dataclass(frozen=True)
class GBMConfig(FromHyperparameters):
    """What training depends on, besides the panel.

    Attributes:
        seed: of the sample of rows and of LightGBM's own samples.
        family: "global" (one model), "departments" (one a department) or "both", averaged with equal weight.
        training_days: days before the origin that rows are drawn from.
        sample_share: share of the live rows (released, not Christmas) drawn.
        max_rows: the share is lowered where it would draw more rows than this, which bounds time, memory and disk.
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
