"""The third stage: the models in force for a week, by SageMaker Training jobs.

A week's model is trained when the last one is older than the cadence, else the last one is carried forward. Only
earlier weeks are looked at, so a backfill never uses a model from the future. Not here: the models themselves
(`m5_assets.forecasting`).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg

from m5_assets.assets.presentation import bars_plot, lines_plot
from m5_assets.resources.lake import Lake, Manifest
from m5_assets.resources.sagemaker_jobs import HEAVY, SageMakerJobs
from m5_assets.settings import settings
from m5_assets.weeks import WEEKS, Week

ModelKind = Literal["gbm", "lstm", "totals"]


def model_in_force(lake: Lake, dataset: str, week: Week, recipe: str) -> Manifest | None:
    """Return the manifest of the last model before this week, if it is young enough and made by the same recipe."""
    earlier = [key for key in lake.partitions(dataset) if key < week.key]
    if not earlier:
        return None
    last = lake.get(dataset, earlier[-1])
    age = (week.first_day - Week.parse(last.attributes["trained_week"]).first_day).days // 7
    fits = age < settings().cadence_weeks and last.attributes["recipe"] == recipe
    return last if fits else None


def model_file(manifest: Manifest) -> str:
    """Return the key of the model's archive."""
    return next(f.key for f in manifest.files if f.key.endswith("model.tar.gz"))


def _make(
    context: dg.AssetExecutionContext,
    lake: Lake,
    jobs: SageMakerJobs,
    kind: ModelKind,
    channel: str,
    hyperparameters: Mapping[str, str],
) -> dg.MaterializeResult[Any]:
    dataset, week = f"{kind}_model", Week.parse(context.partition_key)
    content = json.dumps([jobs.image(kind), dict(hyperparameters)], sort_keys=True)
    recipe = hashlib.sha256(content.encode()).hexdigest()[:12]
    last = model_in_force(lake, dataset, week, recipe)
    if last is not None:
        lake.commit(Manifest(dataset, week.key, last.files, last.inputs, last.attributes))
        context.log.info(f"carried forward: the model trained in week {last.attributes['trained_week']}")
        return dg.MaterializeResult(metadata={"trained_anew": False, **last.attributes})
    features = lake.get("features", week.key)
    outcome = jobs.train(
        context,
        kind,
        channels={channel: f"{features.attributes['prefix']}/{channel}"},
        hyperparameters=hyperparameters,
        prefix=lake.folder(dataset, week.key),
    )
    attributes = {"trained_week": week.key, "trained_through": week.origin.isoformat(), "recipe": recipe}
    inputs = {"features": features.digest}
    lake.commit(lake.collect(dataset, week.key, outcome.prefix, inputs=inputs, attributes=attributes))
    return dg.MaterializeResult(metadata={"trained_anew": True, **attributes, **_drawn(outcome.metadata)})


def _drawn(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Draw what a training reports as plain numbers: the importance of features, their effect, the loss."""
    shown = dict(metadata)
    importance = _plain(shown.pop("feature_importance", None))
    if importance:
        top = dict(sorted(importance.items(), key=lambda item: -item[1])[:25])
        shown["importance"] = bars_plot(top, "Share of gain of the 25 strongest features")
    effects = _plain(shown.pop("family_effects", None))
    if effects:
        title = "Mean effect of each family of features: mean absolute logarithm of its factor (TreeSHAP)"
        shown["effects"] = bars_plot(effects, title)
    curve = _plain(shown.pop("training_curve", None))
    if curve:
        import pandas as pd

        losses = pd.Series([loss for _, loss in curve], index=[step for step, _ in curve], dtype=float)
        shown["training"] = lines_plot({"loss": losses}, "Training loss by step")
    return shown


def _plain(value: Any) -> Any:
    """Return the data of a JSON metadata value that came through Pipes."""
    return value.data if isinstance(value, dg.JsonMetadataValue) else value


_PREVIOUS_WEEK = dg.TimeWindowPartitionMapping(
    start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True
)


@dg.asset(
    partitions_def=WEEKS,
    # The week before: a backfill makes models in order, so that each carries the last one forward.
    deps=["features", dg.AssetDep("gbm_model", partition_mapping=_PREVIOUS_WEEK)],
    group_name="models",
    pool=HEAVY,
    kinds={"sagemaker", "lightgbm"},
    description="The gradient-boosted trees in force: trained anew every few weeks, else carried forward.",
)
def gbm_model(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Train the GBM or carry it forward."""
    return _make(context, lake, jobs, "gbm", "panel", settings().gbm_hyperparameters)


@dg.asset(
    partitions_def=WEEKS,
    deps=["features", dg.AssetDep("lstm_model", partition_mapping=_PREVIOUS_WEEK)],
    group_name="models",
    pool=HEAVY,
    kinds={"sagemaker", "pytorch"},
    description="The Seq2Seq LSTM with attention in force: trained anew every few weeks, else carried forward.",
)
def lstm_model(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Train the LSTM or carry it forward."""
    return _make(context, lake, jobs, "lstm", "panel", settings().lstm_hyperparameters)


@dg.asset(
    partitions_def=WEEKS,
    deps=["features", dg.AssetDep("totals_model", partition_mapping=_PREVIOUS_WEEK)],
    group_name="models",
    pool=HEAVY,
    kinds={"sagemaker", "lightgbm"},
    description="The models of the store-departments' daily totals in force, from their long history: trained anew "
    "every few weeks, else carried forward.",
)
def totals_model(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Train the totals' models or carry them forward."""
    return _make(context, lake, jobs, "totals", "totals", settings().totals_hyperparameters)
