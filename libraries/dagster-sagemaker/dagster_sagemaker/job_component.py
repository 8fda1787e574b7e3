"""`SageMakerJobComponent`: assets that a Processing or Training job computes, declared in YAML."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import dagster as dg
from pydantic import Field, model_validator

from dagster_sagemaker._dagster import OpSpec
from dagster_sagemaker.job_api import Description
from dagster_sagemaker.job_names import substitute
from dagster_sagemaker.sagemaker_resource import SageMakerResource

PARTITION_KEY_PLACEHOLDER = "{partition_key}"
"""Stands for the run's partition key in any string of a component's request."""


class SageMakerJobComponent(dg.Component, dg.Model, dg.Resolvable):
    """Assets that one SageMaker Processing or Training job computes.

    The job runs through the resource `sagemaker`, a `SageMakerResource`. Its program reports through Dagster Pipes. In
    any string of the request, `{job_name}` stands for the job's name and `{partition_key}` for the run's partition.
    """

    assets: list[dg.ResolvedAssetSpec] = Field(description="The assets that the job computes.")
    create_processing_job_params: dict[str, Any] | None = Field(
        default=None, description="The request of CreateProcessingJob without its name."
    )
    create_training_job_params: dict[str, Any] | None = Field(
        default=None, description="The request of CreateTrainingJob without its name."
    )
    extras: dict[str, Any] = Field(
        default={}, description="Pipes extras of the job; they do not affect the job's name."
    )
    reuse_completed: bool = Field(
        default=True, description="Whether a completed job with the same request is reused instead of run again."
    )
    checks: list[dg.ResolvedAssetCheckSpec] = Field(default=[], description="Asset checks that the job reports.")
    op: OpSpec = Field(default=OpSpec(), description="Name, tags, pool and backfill policy of the step.")

    @model_validator(mode="after")
    def _one_request(self) -> Self:
        given = [self.create_processing_job_params, self.create_training_job_params]
        if sum(params is not None for params in given) != 1:
            raise ValueError("give exactly one of create_processing_job_params and create_training_job_params")
        return self

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002  # Dagster's signature
        """Return the definitions: one step that computes all assets."""

        @dg.multi_asset(
            name=self.op.name or "__".join(self.assets[0].key.path),
            specs=self.assets,
            check_specs=self.checks,
            description=self.op.description,
            op_tags=self.op.tags,
            pool=self.op.pool,
            backfill_policy=self.op.backfill_policy,
        )
        def run_job(context: dg.AssetExecutionContext, sagemaker: SageMakerResource) -> Iterable[Any]:
            done = sagemaker.get_pipes_client().run(
                context=context,
                extras=self.extras,
                create_processing_job_params=_with_partition(context, self.create_processing_job_params),
                create_training_job_params=_with_partition(context, self.create_training_job_params),
                adopt_completed=None if self.reuse_completed else _never,
            )
            yield from done.get_results()

        return dg.Definitions(assets=[run_job])


def _never(_: Description) -> bool:
    return False


def _with_partition(context: dg.AssetExecutionContext, params: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    # Dagster raises if the run has no single partition, so it is asked only where a request names one.
    if params is None or substitute(params, PARTITION_KEY_PLACEHOLDER, "") == params:
        return params
    substituted: Mapping[str, Any] = substitute(params, PARTITION_KEY_PLACEHOLDER, context.partition_key)
    return substituted
