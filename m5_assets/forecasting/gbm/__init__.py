"""The gradient-boosted forecaster: one LightGBM over all series, averaged with one for each department.

`fit` trains a `GBMModel` on a panel, which predicts rows of features.
"""

from m5_assets.forecasting.gbm.config import Family, GBMConfig
from m5_assets.forecasting.gbm.model import DESCRIPTION, GLOBAL, GBMModel
from m5_assets.forecasting.gbm.training import fit
from m5_assets.forecasting.gbm.training_rows import TrainingRows

__all__ = ["DESCRIPTION", "GLOBAL", "Family", "GBMConfig", "GBMModel", "TrainingRows", "fit"]
