"""`m5 export`: a week's forecast as a file for others."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from m5_assets.cli.parameters import OUTPUT_FILE, WEEK
from m5_assets.errors import UserError
from m5_assets.model_specs import ENSEMBLE, MEMBER_NAMES
from m5_assets.readers.forecasts import read_forecast
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import MissingInput
from m5_assets.settings import settings
from m5_assets.weeks import HORIZON_DAYS, Week


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week, e.g. 2016-05-16.")
@click.option("--format", "form", type=click.Choice(["kaggle"]), default="kaggle", show_default=True)
@click.option("--suffix", type=click.Choice(["evaluation", "validation"]), default="evaluation", show_default=True)
@click.option("--model", type=click.Choice([ENSEMBLE, *MEMBER_NAMES]), default=ENSEMBLE, show_default=True)
@click.option("--output", required=True, type=OUTPUT_FILE)
def export(week: Week, form: str, suffix: str, model: str, output: Path) -> None:
    """Write a week's forecast to a CSV file.

    It has the columns id, F1 … F28 and one row per series.
    """
    try:
        rows = write_kaggle(Lake(root=settings().lake), week, output, model=model, suffix=suffix)
    except MissingInput as problem:
        raise UserError(problem.description) from problem
    click.echo(f"week {week}, {model}, {rows:,} series in {form} format -> {output}")


def write_kaggle(lake: Lake, week: Week, output: Path, *, model: str, suffix: str) -> int:
    """Write `id,F1,...,F28` as the competition requires it, and return the number of series.

    Args:
        lake: holds the forecast.
        week: the forecast week.
        output: the CSV file; it is replaced atomically.
        model: one of `FORECASTS`.
        suffix: evaluation or validation, which ends every id.

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
