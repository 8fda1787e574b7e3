"""The GBM's hyperparameters, and LightGBM's parameters that follow from them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from m5_assets.forecasting.hyperparameters import Hyperparameters

Family = Literal["both", "global", "departments"]


class GBMConfig(Hyperparameters):
    """What training depends on, besides the panel."""

    seed: int = Field(1, ge=0, description="seed of the row sample and of LightGBM's own samples")
    family: Family = Field(
        "both", description="global: one model; departments: one per department; both: their mean, with equal weight"
    )
    training_days: int = Field(364, ge=1, description="days before the origin from which rows are drawn")
    sample_share: float = Field(
        0.4, gt=0, le=1, description="share of the live rows (released, store open) that is drawn"
    )
    max_rows: int = Field(
        6_000_000,
        ge=1,
        description="most rows drawn, which bounds time, memory and disk; lowers sample_share if needed",
    )
    learning_rate: float = Field(0.08, gt=0, le=1, description="shrinkage of all models")
    iterations: int = Field(125, ge=1, description="trees of the global model")
    leaves: int = Field(127, ge=2, description="leaves per tree of the global model")
    min_leaf_rows: int = Field(200, ge=1, description="fewest rows per leaf of the global model")
    department_iterations: int = Field(110, ge=1, description="trees of each department's model")
    department_leaves: int = Field(63, ge=2, description="leaves per tree of a department's model")
    department_min_leaf_rows: int = Field(100, ge=1, description="fewest rows per leaf of a department's model")
    feature_fraction: float = Field(0.4, gt=0, le=1, description="share of the features each tree may use")
    bagging_fraction: float = Field(0.6, gt=0, le=1, description="share of the rows each tree sees")
    max_bin: int = Field(100, ge=2, description="histogram bins per feature")
    l2: float = Field(0.1, ge=0, description="L2 penalty on leaf values")
    tweedie_power: float = Field(
        1.1, gt=1, lt=2, description="variance power of the Tweedie loss, between Poisson (1) and gamma (2)"
    )
    threads: int = Field(
        2, ge=1, description="threads of features and LightGBM; changes the last digits, as sums round in thread order"
    )

    def booster_parameters(self, leaves: int, min_leaf_rows: int) -> dict[str, Any]:
        """Return LightGBM's parameters for a model with this many leaves per tree and rows per leaf."""
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
