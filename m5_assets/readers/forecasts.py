"""Forecasts in the lake as arrays and tables: each model's predictions, the totals forecast, the week's forecast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.forecasting.file_names import key_of
from m5_assets.forecasting.history import DailyUnits, join_stores, read_daily
from m5_assets.model_specs import FORECASTS
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest, MissingInput
from m5_assets.weeks import Week


def read_predictions(lake: Lake, manifest: Manifest) -> DailyUnits:
    """Return a model's forecast of all stores, (N, 28)."""
    return join_stores(list(predictions_by_store(lake, manifest)))


def predictions_by_store(lake: Lake, manifest: Manifest) -> Iterator[DailyUnits]:
    """Yield a model's forecast store by store, in alphabetical order, with only one in memory."""
    for file in sorted(manifest.files, key=lambda file: key_of(Path(file.key).name.partition(".parquet")[0])):
        with lake.open(file) as stream:
            yield read_daily(stream)


def read_totals_forecast(lake: Lake, manifest: Manifest) -> pd.DataFrame:
    """Return the totals forecast: one row per store-department and day, with `units`."""
    frame: pd.DataFrame = lake.read_table(manifest.files[0]).to_pandas()
    return frame


def totals_of(series: pd.DataFrame, totals: pd.DataFrame) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return each series' row among the G store-departments, and their (G, 28) totals, as `align` takes them.

    Raises:
        dg.Failure: the store-department of a series has no totals.
    """
    keys = ["store_id", "dept_id"]
    wide = totals.pivot(index=keys, columns="date", values="units").sort_index()
    groups = wide.index.get_indexer(pd.MultiIndex.from_frame(series[keys]))
    if (groups < 0).any():
        row = series.iloc[int(np.flatnonzero(groups < 0)[0])]
        raise dg.Failure(
            f"no totals forecast of {row['store_id']}, {row['dept_id']}; materialize totals_forecast again"
        )
    return groups, wide.to_numpy(np.float32)


def read_forecast(lake: Lake, week: Week) -> pa.Table:
    """Return the week's forecast as the ensemble wrote it, of all stores.

    Raises:
        MissingInput: see `forecast_parts`.
    """
    return pa.concat_tables(forecast_parts(lake, week)).unify_dictionaries()


def forecast_parts(lake: Lake, week: Week) -> Iterator[pa.Table]:
    """Yield the week's forecast in groups of whole stores.

    Raises:
        MissingInput: the week has no forecast, or one from an earlier version that lacks some of `FORECASTS`.
    """
    remedy = f"run `m5 forecast --week {week}`"
    for table in lake.read_groups(lake.get("ensemble_forecast", week.key, remedy=remedy).files[0]):
        missing = [model for model in FORECASTS if model not in table.column_names]
        if missing:
            raise MissingInput(f"ensemble_forecast with the column {missing[0]}", week.key, remedy)
        yield table
