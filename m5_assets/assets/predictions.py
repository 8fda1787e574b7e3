"""The fourth stage: each model's forecast of the 28 days, by SageMaker Batch Transform jobs.

The jobs need nothing of each other and run at the same time where the machine allows. Not here: the servers that
answer (`m5_assets.containers`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.assets.models import ModelKind, model_file
from m5_assets.assets.presentation import column_schema, lines_plot, markdown_table, preview
from m5_assets.forecasting.history import DailyUnits, join_stores, read_daily
from m5_assets.resources.lake import Lake, Manifest
from m5_assets.resources.sagemaker_jobs import JOB_NAME, SageMakerJobs
from m5_assets.weeks import HORIZON_DAYS, WEEKS, Week


def read_predictions(lake: Lake, manifest: Manifest) -> DailyUnits:
    """Return a model's forecast of all stores, (N, 28)."""
    return join_stores(list(predictions_by_store(lake, manifest)))


def predictions_by_store(lake: Lake, manifest: Manifest) -> Iterator[DailyUnits]:
    """Yield a model's forecast store by store, in alphabetical order, so that no more than one is in memory."""
    for file in sorted(manifest.files, key=lambda file: Path(file.key).name.partition(".parquet")[0]):
        with lake.filesystem.open_input_file(lake.path(file.key)) as stream:
            yield read_daily(stream)


def read_totals_forecast(lake: Lake, manifest: Manifest) -> pd.DataFrame:
    """Return the totals' forecast: a row a store-department and day, with `units`."""
    frame: pd.DataFrame = lake.read_table(manifest.files[0]).to_pandas()
    return frame


def totals_of(series: pd.DataFrame, totals: pd.DataFrame) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return each series' row among the G store-departments, and their (G, 28) totals, as `align` takes them.

    Raises:
        dg.Failure: a series whose store-department has no totals.
    """
    keys = ["store_id", "dept_id"]
    wide = totals.pivot(index=keys, columns="date", values="units").sort_index()
    groups = wide.index.get_indexer(pd.MultiIndex.from_frame(series[keys]))
    if (groups < 0).any():
        row = series.iloc[int(np.flatnonzero(groups < 0)[0])]
        raise dg.Failure(
            f"no totals forecast of {row['store_id']}, {row['dept_id']}; materialise totals_forecast again"
        )
    return groups, wide.to_numpy(np.float32)


def _transform(
    context: dg.AssetExecutionContext, lake: Lake, jobs: SageMakerJobs, kind: ModelKind, dataset: str, part: str
) -> tuple[Manifest, dict[str, Any]]:
    """Run the week's transform; return what it wrote, not yet in force, and what to show of it."""
    week = Week.parse(context.partition_key)
    features, model = lake.get("features", week.key), lake.get(f"{kind}_model", week.key)
    outcome = jobs.transform(
        context,
        kind,
        model_key=model_file(model),
        input_key=f"{features.attributes['prefix']}/{part}",
        prefix=f"{lake.folder(dataset, week.key)}/{JOB_NAME}",
    )
    inputs = {"features": features.digest, f"{kind}_model": model.digest}
    attributes = {"trained_through": model.attributes["trained_through"]}
    manifest = lake.collect(dataset, week.key, outcome.prefix, inputs=inputs, attributes=attributes)
    expected = len(features.under(part))
    if len(manifest.files) != expected:
        raise dg.Failure(f"{dataset}, week {week}: {len(manifest.files)} answers for {expected} files")
    return manifest, {**outcome.metadata, **attributes}


def _predict(
    context: dg.AssetExecutionContext, lake: Lake, jobs: SageMakerJobs, kind: ModelKind, part: str
) -> dg.MaterializeResult[Any]:
    dataset, week = f"{kind}_predictions", Week.parse(context.partition_key)
    manifest, shown = _transform(context, lake, jobs, kind, dataset, part)
    series, units, first = 0, 0.0, None
    for store in predictions_by_store(lake, manifest):
        if store.units.shape[1] != HORIZON_DAYS or store.last_day != week.last_forecast_day:
            raise dg.Failure(f"{dataset}, week {week}: covers {store.first_day} to {store.last_day}, not its 28 days")
        series, units, first = series + len(store.series), units + float(store.units.sum(dtype=float)), first or store
    if first is None:
        raise dg.Failure(f"{dataset}, week {week}: no store was forecast")
    lake.commit(manifest)
    table = first.table()
    return dg.MaterializeResult(
        metadata={
            **shown,
            "dagster/row_count": series * HORIZON_DAYS,
            "dagster/column_schema": column_schema(table),
            "series": series,
            "units": units,
            "preview": preview(table),
        }
    )


@dg.asset(
    partitions_def=WEEKS,
    deps=["features", "gbm_model"],
    group_name="predictions",
    kinds={"sagemaker", "lightgbm"},
    description="The GBM's forecast of the 28 days ahead, from the horizon's features. Batch Transform on CPU.",
)
def gbm_predictions(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Predict with the GBM in force."""
    return _predict(context, lake, jobs, "gbm", "horizon")


@dg.asset(
    partitions_def=WEEKS,
    deps=["features", "lstm_model"],
    group_name="predictions",
    kinds={"sagemaker", "pytorch"},
    description="The LSTM's forecast of the 28 days ahead, from the panel. Batch Transform, on a GPU on AWS.",
)
def lstm_predictions(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Predict with the LSTM in force."""
    return _predict(context, lake, jobs, "lstm", "panel")


@dg.asset(
    partitions_def=WEEKS,
    deps=["features", "totals_model"],
    group_name="predictions",
    kinds={"sagemaker", "lightgbm"},
    description="The forecast of the store-departments' daily totals, from their long history. Batch Transform.",
)
def totals_forecast(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Predict the totals with the models in force."""
    week = Week.parse(context.partition_key)
    manifest, shown = _transform(context, lake, jobs, "totals", "totals_forecast", "totals")
    frame = read_totals_forecast(lake, manifest)
    if frame["date"].max() != week.last_forecast_day or frame["date"].nunique() != HORIZON_DAYS:
        raise dg.Failure(f"totals_forecast, week {week}: does not cover the week's 28 days")
    lake.commit(manifest)
    by_store = {str(name): part.groupby("date")["units"].sum() for name, part in frame.groupby("store_id")}
    return dg.MaterializeResult(
        metadata={
            **shown,
            "dagster/row_count": len(frame),
            "units": float(frame["units"].sum()),
            "units_a_day_by_store": lines_plot(by_store, f"Units a day by store, origin {week.origin}"),
            "preview": markdown_table(frame.head(8)),
        }
    )
