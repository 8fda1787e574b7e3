"""The accuracy of scored weeks in the lake, as tables."""

from __future__ import annotations

import pandas as pd

from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import MissingInput
from m5_assets.weeks import Week

LEVELS_FILE, AGGREGATES_FILE = "accuracy.parquet", "aggregate_accuracy.parquet"


def read_accuracy(lake: Lake, week: Week) -> pd.DataFrame:
    """Return the week's accuracy by level and model.

    Raises:
        MissingInput: the week has not been scored.
    """
    return _read(lake, week, LEVELS_FILE)


def read_aggregate_accuracy(lake: Lake, week: Week) -> pd.DataFrame:
    """Return the week's accuracy by aggregate and model.

    Raises:
        MissingInput: the week has not been scored.
    """
    return _read(lake, week, AGGREGATES_FILE)


def _read(lake: Lake, week: Week, name: str) -> pd.DataFrame:
    remedy = f"run `m5 score --week {week}`"
    manifest = lake.get("forecast_accuracy", week.key, remedy=remedy)
    found = manifest.named(name)
    if found is None:
        raise MissingInput(f"forecast_accuracy with {name}", week.key, remedy)
    frame: pd.DataFrame = lake.read_table(found).to_pandas()
    return frame
