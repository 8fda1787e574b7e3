"""The GBM's container: `train` trains on the channel `panel`, `serve` answers feature files with forecasts.

python -m m5_assets.containers.gbm train|serve
"""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.containers.contract import base, channel, hyperparameters, main, model_folder, reporting
from m5_assets.containers.serving import BadBody, serve
from m5_assets.forecasting.contributions import mean_effects
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.gbm.model import GBMModel
from m5_assets.forecasting.gbm.training import fit
from m5_assets.forecasting.gbm.training_rows import TrainingRows
from m5_assets.forecasting.panel import SERIES_COLUMNS, PanelFiles


def train() -> None:
    """Train on the panel and save the model where SageMaker collects it."""
    with reporting() as report:
        config = GBMConfig.from_hyperparameters(hyperparameters())
        panels = PanelFiles(channel("panel"))
        report.progress(f"drawing rows from {len(panels.paths)} stores", 0.0)
        rows = TrainingRows.draw(panels, config)
        model = fit(rows, report.progress, checkpoints=base() / "checkpoints")
        model.save(model_folder())
        report.materialized(
            {
                "training_rows": model.training_rows,
                "boosters": len(model.boosters),
                "features": len(model.features),
                "feature_importance": model.importance(),
                "family_effects": mean_effects(model, rows),
            }
        )


def predict_with(model: GBMModel, body: bytes) -> pa.Table:
    """Return the forecasts for one store's feature file, with columns for the keys, `date` and `units`.

    Raises:
        BadBody: the body is not a feature file of this model.
    """
    try:
        features = pq.read_table(pa.BufferReader(body))
        units = model.predict_frame(features)
    except (pa.ArrowInvalid, KeyError, ValueError) as problem:
        raise BadBody(f"not a feature file of this model: {problem}") from problem
    return features.select([*SERIES_COLUMNS, "date"]).append_column("units", pa.array(units, pa.float32()))


def run_server() -> None:
    """Serve the model in /opt/ml/model."""
    model = GBMModel.load(model_folder())
    serve(lambda body: predict_with(model, body))


if __name__ == "__main__":
    main({"train": train, "serve": run_server}[sys.argv[1]])
