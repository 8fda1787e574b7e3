"""SageMaker jobs for Dagster: Pipes clients, a strict validator, and a local runner that needs no AWS.

- `PipesSageMakerClient` runs Processing and Training jobs that report through Dagster Pipes.
- `SageMakerTransformClient` runs Batch Transform jobs.
- `LocalSageMaker` answers the same boto3 requests on this machine, by running the containers' entry points.
- `S3PipesChannel`, `LocalPipesChannel` carry Pipes context and messages.
- `sweep` stops the jobs whose run has ended.
- `validate` checks a request against all limits of the service before it is sent.

The package stands alone and can be used in any Dagster project. Inside: `kinds` and `naming` (the words), `validation`
with `rules`, `jobs` with `calls`, `ownership`, `job_logs` and `results` (the life cycle of a job), the clients on top,
`sweeper`, `artifacts` (models that arrive from elsewhere), and `local` (the runner).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_sagemaker.job_results import SageMakerJobError
    from dagster_sagemaker.local.service import LocalSageMaker
    from dagster_sagemaker.pipes_channel import LocalPipesChannel, PipesChannel
    from dagster_sagemaker.pipes_client import PipesSageMakerClient, PipesSageMakerInvocation
    from dagster_sagemaker.pipes_s3_channel import S3PipesChannel
    from dagster_sagemaker.sweeper import SweptJob, sweep
    from dagster_sagemaker.transform_client import SageMakerTransformClient, TransformResult
    from dagster_sagemaker.validation import RequestValidationError, validate

__all__ = [
    "LocalPipesChannel",
    "LocalSageMaker",
    "PipesChannel",
    "PipesSageMakerClient",
    "PipesSageMakerInvocation",
    "RequestValidationError",
    "S3PipesChannel",
    "SageMakerJobError",
    "SageMakerTransformClient",
    "SweptJob",
    "TransformResult",
    "sweep",
    "validate",
]

_HOMES = {
    "LocalPipesChannel": "pipes_channel",
    "LocalSageMaker": "local.service",
    "PipesChannel": "pipes_channel",
    "PipesSageMakerClient": "pipes_client",
    "PipesSageMakerInvocation": "pipes_client",
    "RequestValidationError": "validation",
    "S3PipesChannel": "pipes_s3_channel",
    "SageMakerJobError": "job_results",
    "SageMakerTransformClient": "transform_client",
    "SweptJob": "sweeper",
    "TransformResult": "transform_client",
    "sweep": "sweeper",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    # On demand, because every supervisor of a local job imports this package and must not wait for dagster and boto3.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
