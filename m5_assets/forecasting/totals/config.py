"""The hyperparameters of the totals' model, and LightGBM's parameters that follow from them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from m5_assets.forecasting.hyperparameters import Hyperparameters


class TotalsConfig(Hyperparameters):
    """What training depends on, besides the history."""

    seed: int = Field(1, ge=0, description="seed of LightGBM's samples")
    origin_step: int = Field(
        14, ge=7, multiple_of=7, description="days between the past origins to learn from, whole weeks"
    )
    training_days: int = Field(1456, ge=1, description="days before the origin in which those origins lie")
    trees_iterations: int = Field(300, ge=1, description="trees of the member trees")
    stack_iterations: int = Field(200, ge=1, description="trees of each of the members stack and recent")
    learning_rate: float = Field(0.08, gt=0, le=1, description="shrinkage of all three")
    leaves: int = Field(31, ge=2, description="leaves per tree")
    min_leaf_rows: int = Field(100, ge=1, description="fewest rows per leaf")
    feature_fraction: float = Field(0.4, gt=0, le=1, description="share of the features each tree may use")
    bagging_fraction: float = Field(0.5, gt=0, le=1, description="share of the rows each tree sees")
    l2: float = Field(1.0, ge=0, description="L2 penalty on leaf values")
    threads: int = Field(1, ge=1, description="threads of LightGBM; more help on idle cores only")

    def booster_parameters(self) -> dict[str, Any]:
        """Return LightGBM's parameters."""
        return {
            "objective": "l2",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_leaf_rows,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "max_bin": 100,
            "lambda_l2": self.l2,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,  # the automatic choice would depend on a stopwatch
            "metric": "none",
            "verbosity": -1,
        }
