"""The fourth stage: each model's forecast of the next 28 days, computed by SageMaker Batch Transform jobs.

The jobs are independent of each other and run in parallel if the machine allows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from m5_assets import asset_groups
from m5_assets.assets.models import model_file
from m5_assets.assets.presentation import column_schema, lines_plot, preview, shown_table
from m5_assets.model_specs import MEMBERS, TOTALS, ModelSpec
from m5_assets.partitions import WEEKS
from m5_assets.readers.forecasts import predictions_by_store, read_totals_forecast
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.sagemaker_jobs import JOB_NAME, SageMakerJobs
from m5_assets.weeks import HORIZON_DAYS, Week


def predictions_asset(
    spec: ModelSpec, examine: Callable[[Lake, Manifest, Week], Mapping[str, Any]]
) -> dg.AssetsDefinition:
    """Return the asset of a model's predictions.

    Args:
        spec: the model.
        examine: returns metadata of the predictions before they are committed; raises `dg.Failure` if they do not
            cover the week.
    """

    @dg.asset(
        name=spec.predictions,
        partitions_def=WEEKS,
        deps=["features", spec.model],
        group_name=asset_groups.PREDICTIONS,
        kinds={"sagemaker", spec.framework},
        description=f"{spec.about}: forecast of the next 28 days, {spec.reads}. A Batch Transform job.",
    )
    def predictions(
        context: dg.AssetExecutionContext, lake: Lake, sagemaker: SageMakerJobs
    ) -> dg.MaterializeResult[Any]:
        manifest, shown = _transform(context, lake, sagemaker, spec)
        shown |= examine(lake, manifest, Week.parse(context.partition_key))
        lake.commit(manifest)
        return dg.MaterializeResult(metadata=shown)

    return predictions


def _transform(
    context: dg.AssetExecutionContext, lake: Lake, sagemaker: SageMakerJobs, spec: ModelSpec
) -> tuple[Manifest, dict[str, Any]]:
    """Run the week's transform; return the uncommitted manifest of its output, and metadata.

    Raises:
        dg.Failure: the number of answers differs from the number of input files.
    """
    week = Week.parse(context.partition_key)
    features, model = lake.get("features", week.key), lake.get(spec.model, week.key)
    archive = model_file(model)
    lake.verify([archive, *features.under(spec.prediction_part)])
    outcome = sagemaker.transform(
        context,
        spec.name,
        model_key=archive.key,
        input_key=f"{features.attributes['prefix']}/{spec.prediction_part}",
        prefix=f"{lake.folder(spec.predictions, week.key)}/{JOB_NAME}",
    )
    inputs = {"features": features.digest, spec.model: model.digest}
    attributes = {"trained_through": model.attributes["trained_through"]}
    manifest = lake.collect(spec.predictions, week.key, outcome.prefix, inputs=inputs, attributes=attributes)
    expected = len(features.under(spec.prediction_part))
    if len(manifest.files) != expected:
        raise dg.Failure(f"{spec.predictions}, week {week}: {len(manifest.files)} answers for {expected} files")
    return manifest, {**outcome.metadata, **attributes}


def _examine_series(lake: Lake, manifest: Manifest, week: Week) -> dict[str, Any]:
    """Return metadata of a member's predictions.

    Raises:
        dg.Failure: a store's forecast does not cover the week's 28 days, or there is none.
    """
    series, units, first = 0, 0.0, None
    for store in predictions_by_store(lake, manifest):
        if store.units.shape[1] != HORIZON_DAYS or store.last_day != week.last_forecast_day:
            raise dg.Failure(
                f"{manifest.dataset}, week {week}: covers {store.first_day} to {store.last_day}, not its 28 days"
            )
        series, units, first = series + len(store.series), units + float(store.units.sum(dtype=float)), first or store
    if first is None:
        raise dg.Failure(f"{manifest.dataset}, week {week}: no store was forecast")
    table = first.table()
    return {
        "dagster/row_count": series * HORIZON_DAYS,
        "dagster/column_schema": column_schema(table),
        "series": series,
        "units": units,
        "preview": preview(table),
    }


def _examine_totals(lake: Lake, manifest: Manifest, week: Week) -> dict[str, Any]:
    """Return metadata of the totals forecast.

    Raises:
        dg.Failure: it does not cover the week's 28 days.
    """
    frame = read_totals_forecast(lake, manifest)
    if frame["date"].max() != week.last_forecast_day or frame["date"].nunique() != HORIZON_DAYS:
        raise dg.Failure(f"{manifest.dataset}, week {week}: does not cover the week's 28 days")
    by_store = {str(name): part.groupby("date")["units"].sum() for name, part in frame.groupby("store_id")}
    return {
        "dagster/row_count": len(frame),
        "units": float(frame["units"].sum()),
        "units_a_day_by_store": lines_plot(by_store, f"Units per day by store, origin {week.origin}"),
        "preview": shown_table(frame.head(8)),
    }


PREDICTION_ASSETS = [
    *(predictions_asset(member, _examine_series) for member in MEMBERS),
    predictions_asset(TOTALS, _examine_totals),
]
