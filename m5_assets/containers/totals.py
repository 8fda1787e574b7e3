"""The totals' container: `train` trains on the channel `totals`, `serve` answers totals files with forecasts.

python -m m5_assets.containers.totals train|serve
"""

from __future__ import annotations

import datetime as dt
import sys

import numpy as np
import pyarrow as pa

from m5_assets.containers.contract import channel, hyperparameters, main, model_folder, reporting
from m5_assets.containers.serving import BadBody, serve
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.config import TotalsConfig
from m5_assets.forecasting.totals.daily_totals import GROUP_COLUMNS, read_totals
from m5_assets.forecasting.totals.model import TotalsModel, fit


def train() -> None:
    """Train on the totals and save the model where SageMaker collects it."""
    with reporting() as report:
        config = TotalsConfig.from_hyperparameters(hyperparameters())
        (path,) = channel("totals")
        history = read_totals(path)
        report.progress(f"training on {len(history.groups)} store-departments x {history.days} days", 0.0)
        model = fit(history, config, report.progress)
        model.save(model_folder())
        report.materialized(
            {"store_departments": len(history.groups), "days": history.days, "level": round(model.level, 5)}
        )


def predict_with(model: TotalsModel, body: bytes) -> pa.Table:
    """Return the forecasts for a totals file, with columns for the groups, `date` and `units`.

    Raises:
        BadBody: the body is not a totals file.
    """
    try:
        history = read_totals(pa.BufferReader(body))
    except (pa.ArrowInvalid, KeyError, ValueError) as problem:
        raise BadBody(f"not a history of totals: {problem}") from problem
    units = model.predict(history)
    first_day = np.datetime64((history.origin + dt.timedelta(days=1)).date(), "D")
    columns = {name: pa.array(np.repeat(history.groups[name].to_numpy(str), HORIZON)) for name in GROUP_COLUMNS}
    dates = np.tile(first_day + np.arange(HORIZON), len(history.groups))
    return pa.table(
        {**columns, "date": pa.array(dates, pa.date32()), "units": pa.array(units.reshape(-1), pa.float32())}
    )


def run_server() -> None:
    """Serve the model in /opt/ml/model."""
    model = TotalsModel.load(model_folder())
    serve(lambda body: predict_with(model, body))


if __name__ == "__main__":
    main({"train": train, "serve": run_server}[sys.argv[1]])
