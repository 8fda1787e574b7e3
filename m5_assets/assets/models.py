"""The third stage: the models in force for a week, trained by SageMaker Training jobs.

A week gets a new model if the last one has reached the age set by the cadence or does not fit the week's stores and
departments; otherwise the last one is carried forward. Only models of earlier weeks are considered, so a backfill never
uses a model from the future.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg

from m5_assets import asset_groups
from m5_assets.assets.model_config import launchpad_config, training_hyperparameters
from m5_assets.assets.presentation import bars_plot, lines_plot
from m5_assets.model_specs import MODELS, ModelSpec
from m5_assets.partitions import WEEKS
from m5_assets.readers.groups import Groups, difference, groups_of
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import LakeFile, Manifest
from m5_assets.resources.sagemaker_jobs import HEAVY, SageMakerJobs
from m5_assets.settings import settings
from m5_assets.weeks import Week


def last_model(lake: Lake, dataset: str, week: Week) -> Manifest | None:
    """Return the manifest of the last model before this week."""
    earlier = [key for key in lake.partitions(dataset) if key < week.key]
    return lake.get(dataset, earlier[-1]) if earlier else None


def why_train(last: Manifest | None, week: Week, recipe: str, groups: Groups, cadence_weeks: int) -> str:
    """Return why the last model is not in force for this week; empty if it is.

    Args:
        last: the last model before the week.
        week: the week.
        recipe: the recipe of models trained now.
        groups: the week's groups that a model must fit.
        cadence_weeks: age at which a model is retrained.
    """
    if last is None:
        return "no earlier week has a model"
    age = (week.first_day - Week.parse(last.attributes["trained_week"]).first_day).days // 7
    if age >= cadence_weeks:
        return f"the last model is {age} weeks old, and M5_CADENCE_WEEKS={cadence_weeks}"
    if last.attributes["recipe"] != recipe:
        return "the program or the hyperparameters have changed"
    changed = difference(groups, last.attributes.get("groups", {}))
    return f"the last model was trained on other stores or departments: {changed}" if changed else ""


def model_file(manifest: Manifest) -> LakeFile:
    """Return the model's archive."""
    return next(file for file in manifest.files if file.key.endswith("model.tar.gz"))


def model_asset(spec: ModelSpec) -> dg.AssetsDefinition:
    """Return the asset of the model in force; its hyperparameters can be changed per run in the Launchpad."""
    given = settings().hyperparameters(spec.name)
    config_type = launchpad_config(spec.hyperparameters, given)

    @dg.asset(
        name=spec.model,
        partitions_def=WEEKS,
        deps=["features"],
        group_name=asset_groups.MODELS,
        pool=HEAVY,
        kinds={"sagemaker", spec.framework},
        metadata={
            "sees": "the week's features, and the last model of an earlier week: carried forward until it is "
            f"{settings().cadence_weeks} weeks old"
        },
        description=f"{spec.about} in force for the week: trained every few weeks, carried forward in between.",
    )
    def model(
        context: dg.AssetExecutionContext,
        config: config_type,  # type: ignore[valid-type]  # built from the spec
        lake: Lake,
        policy: ForecastPolicy,
        sagemaker: SageMakerJobs,
    ) -> dg.MaterializeResult[Any]:
        week, hyperparameters = Week.parse(context.partition_key), training_hyperparameters(config, given)
        recipe = _recipe(sagemaker.image(spec.name), hyperparameters)
        features = lake.get("features", week.key)
        groups = groups_of(lake, features, spec.fits)
        last = last_model(lake, spec.model, week)
        reason = why_train(last, week, recipe, groups, policy.cadence_weeks)
        if last is not None and not reason:
            lake.verify(last.files)
            lake.commit(Manifest(spec.model, week.key, last.files, last.inputs, last.attributes))
            context.log.info(f"carried forward: the model trained in week {last.attributes['trained_week']}")
            trained = shown_when_trained(context.instance, context.asset_key, last.attributes["trained_week"])
            return dg.MaterializeResult(metadata={**trained, "trained": False, **_facts(last.attributes)})
        context.log.info(f"training: {reason}")
        lake.verify(features.under(spec.training_part))
        outcome = sagemaker.train(
            context,
            spec.name,
            channels={spec.training_part: f"{features.attributes['prefix']}/{spec.training_part}"},
            hyperparameters=hyperparameters,
            prefix=lake.folder(spec.model, week.key),
        )
        facts = {"trained_week": week.key, "trained_through": week.origin.isoformat(), "recipe": recipe}
        inputs = {"features": features.digest}
        lake.commit(
            lake.collect(spec.model, week.key, outcome.prefix, inputs=inputs, attributes={**facts, "groups": groups})
        )
        shown = {"trained": True, "why_trained": reason, **facts, **_drawn(outcome.metadata)}
        return dg.MaterializeResult(metadata=shown)

    return model


def shown_when_trained(instance: dg.DagsterInstance, model: dg.AssetKey, week: str) -> dict[str, Any]:
    """Return the metadata of the week in which a model was trained: its figures and plots; empty if it has no event."""
    found = instance.fetch_materializations(dg.AssetRecordsFilter(model, asset_partitions=[week]), limit=1).records
    event = found[0].asset_materialization if found else None
    return dict(event.metadata) if event else {}


def _facts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's attributes without its groups, which may be hundreds."""
    return {name: value for name, value in attributes.items() if name != "groups"}


def _recipe(image: str, hyperparameters: Mapping[str, str]) -> str:
    """Return a digest of what determines a model: the program and the hyperparameters."""
    content = json.dumps([image, dict(hyperparameters)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _drawn(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training's metadata with feature importance, family effects and loss replaced by plots."""
    shown = dict(metadata)
    importance = _plain(shown.pop("feature_importance", None))
    if importance:
        top = dict(sorted(importance.items(), key=lambda item: -item[1])[:25])
        shown["importance"] = bars_plot(top, "Share of gain of the 25 strongest features")
    effects = _plain(shown.pop("family_effects", None))
    if effects:
        title = "Mean effect of each feature family: mean absolute log of its factor (TreeSHAP)"
        shown["effects"] = bars_plot(effects, title)
    curve = _plain(shown.pop("training_curve", None))
    if curve:
        import pandas as pd

        losses = pd.Series([loss for _, loss in curve], index=[step for step, _ in curve], dtype=float)
        shown["training"] = lines_plot({"loss": losses}, "Training loss by step")
    return shown


def _plain(value: Any) -> Any:
    """Return the data of a JSON metadata value that was reported through Pipes."""
    return value.data if isinstance(value, dg.JsonMetadataValue) else value


MODEL_ASSETS = [model_asset(spec) for spec in MODELS]
