"""A week's forecast as a file for others. Not here: loading it into PostgreSQL (`m5_assets.assets.rds`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from m5_assets.readers.forecasts import read_forecast
from m5_assets.resources.lake import Lake
from m5_assets.weeks import HORIZON_DAYS, Week


def write_kaggle(lake: Lake, week: Week, output: Path, *, model: str, suffix: str) -> int:
    """Write `id,F1,...,F28` as the competition asks for it and return the number of series.

    Args:
        lake: where the forecast is.
        week: the forecast week.
        output: the CSV file; it is replaced in one step.
        model: one of `FORECASTS`.
        suffix: evaluation or validation, the end of every id.

    Raises:
        MissingInput: the week has no forecast.
    """
    table = read_forecast(lake, week)
    heads = table.select(["item_id", "store_id"]).take(np.arange(0, table.num_rows, HORIZON_DAYS)).to_pandas()
    values = table[model].to_numpy().reshape(-1, HORIZON_DAYS)
    frame = pd.DataFrame(values, columns=[f"F{i}" for i in range(1, HORIZON_DAYS + 1)])
    frame.insert(0, "id", heads["item_id"].astype(str) + "_" + heads["store_id"].astype(str) + f"_{suffix}")
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.tmp")
    frame.to_csv(unfinished, index=False)
    unfinished.replace(output)
    return len(frame)
