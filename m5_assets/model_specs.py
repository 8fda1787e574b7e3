"""The models that the platform trains and combines, one entry per model.

Everything that exists once per model (assets, checks, job settings, hyperparameters, columns) is derived from these
entries. To add one: docs/extending.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.hyperparameters import Hyperparameters
from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.totals.config import TotalsConfig


@dataclass(frozen=True)
class ModelSpec:
    """Everything that differs between the models.

    Attributes:
        name: name in asset keys, settings, images and columns; also of its package in `forecasting` and its program
            `m5_assets.containers.<name>`.
        label: name shown to people.
        framework: shown as the kind of its assets.
        training_part: folder of the features partition that training reads; also the name of its channel.
        prediction_part: folder of the features partition whose files are predicted one by one.
        about: what the model is; begins its assets' descriptions.
        reads: what predictions are computed from, and on which hardware.
        hyperparameters: class of its hyperparameters.
        fits: the groups that must be those of its training, each by its columns; if the week has others, the model is
            retrained. Empty for a model that forecasts any group.
        share: a member's default share in the ensemble; 0 for the first member, which gets the rest.
        predictions: name of the asset with its predictions; `<name>_predictions` by default.
        training_instance: default instance type of its Training jobs.
        transform_instance: default instance type of its Batch Transform jobs.
    """

    name: str
    label: str
    framework: str
    training_part: str
    prediction_part: str
    about: str
    reads: str
    training_instance: str
    transform_instance: str
    hyperparameters: type[Hyperparameters]
    fits: tuple[tuple[str, ...], ...] = ()
    share: float = 0.0
    predictions: str = ""

    @property
    def model(self) -> str:
        """The name of the asset with the model in force."""
        return f"{self.name}_model"

    def __post_init__(self) -> None:
        """Set the default name of the predictions."""
        object.__setattr__(self, "predictions", self.predictions or f"{self.name}_predictions")


MEMBERS = (
    ModelSpec(
        name="gbm",
        label="GBM",
        framework="lightgbm",
        training_part="panel",
        prediction_part="horizon",
        about="The gradient-boosted trees",
        reads="from the horizon's features; on CPU",
        training_instance="ml.m5.2xlarge",
        transform_instance="ml.m5.xlarge",
        hyperparameters=GBMConfig,
        fits=(("store_id",), ("dept_id",)),  # features with their codes, and a member per department
    ),
    ModelSpec(
        name="lstm",
        label="LSTM",
        framework="pytorch",
        training_part="panel",
        prediction_part="panel",
        about="The Seq2Seq LSTM with attention",
        reads="from the panel; on a GPU on AWS",
        training_instance="ml.g4dn.xlarge",
        transform_instance="ml.g4dn.xlarge",
        hyperparameters=LSTMConfig,
        share=0.2,
    ),
)
"""The models of single series that the ensemble averages. The first gets the share that the others leave."""

TOTALS = ModelSpec(
    name="totals",
    label="Totals",
    framework="lightgbm",
    training_part="totals",
    prediction_part="totals",
    about="The models of the store-departments' daily totals",
    reads="from their long history; on CPU",
    training_instance="ml.m5.xlarge",
    transform_instance="ml.m5.large",
    hyperparameters=TotalsConfig,
    fits=(("store_id", "dept_id"),),
    predictions="totals_forecast",
)
"""The model of the totals that the members' average is aligned to."""

MODELS = (*MEMBERS, TOTALS)
JOB_KINDS = ("features", *(model.name for model in MODELS))
"""The programs that run as jobs, each with its own image."""
MEMBER_NAMES = tuple(member.name for member in MEMBERS)
PREDICTIONS = tuple(model.predictions for model in MODELS)

AVERAGE, ENSEMBLE = "average", "ensemble"
FORECASTS = (*MEMBER_NAMES, AVERAGE, ENSEMBLE)
"""The columns of a week's forecast: each member, their weighted average, and the average aligned to the totals."""
