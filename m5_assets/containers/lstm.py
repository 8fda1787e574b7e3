"""The LSTM's container: `train` trains on the channel `panel`, `serve` answers panel files with forecasts.

python -m m5_assets.containers.lstm train|serve
"""

from __future__ import annotations

import datetime as dt
import sys

import pyarrow as pa

from m5_assets.containers.contract import base, channel, hyperparameters, main, model_folder, reporting
from m5_assets.containers.serving import BadBody, serve
from m5_assets.forecasting.history import DailyUnits
from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.lstm.model import LSTMModel
from m5_assets.forecasting.lstm.training import fit
from m5_assets.forecasting.panel import concat, read_panel


def train() -> None:
    """Train on the panel and save the model where SageMaker collects it."""
    with reporting() as report:
        config = LSTMConfig.from_hyperparameters(hyperparameters())
        panel = concat([read_panel(path) for path in channel("panel")])
        report.progress(f"training on {len(panel.series):,} series x {panel.days} days", 0.0)
        model = fit(panel, config, report.progress, checkpoints=base() / "checkpoints")
        model.save(model_folder())
        report.materialized(
            {
                "parameters": model.parameters,
                "networks": len(model.members),
                "training_curve": [list(p) for p in model.curve],
            }
        )


def predict_with(model: LSTMModel, body: bytes) -> pa.Table:
    """Return the forecasts for one store's panel file, with columns for the keys, `date` and `units`.

    Raises:
        BadBody: the body is not a panel file.
    """
    try:
        panel = read_panel(pa.BufferReader(body))
    except (pa.ArrowInvalid, KeyError, ValueError) as problem:
        raise BadBody(f"not a panel file: {problem}") from problem
    first_day = (panel.origin + dt.timedelta(days=1)).date()
    return DailyUnits(panel.series, first_day, model.predict(panel)).table()


def run_server() -> None:
    """Serve the model in /opt/ml/model."""
    model = LSTMModel.load(model_folder())
    serve(lambda body: predict_with(model, body))


if __name__ == "__main__":
    main({"train": train, "serve": run_server}[sys.argv[1]])
