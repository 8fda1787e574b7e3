"""SageMaker jobs for Dagster: Pipes clients, a request validator, and a local runner that needs no AWS.

The README has the table of what is exported here; `dagster_sagemaker.testing` has faults for tests.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_sagemaker.job_component import SageMakerJobComponent
    from dagster_sagemaker.job_results import SageMakerJobError
    from dagster_sagemaker.local.service import LocalSageMaker
    from dagster_sagemaker.pipes_channel import LocalPipesChannel, PipesChannel
    from dagster_sagemaker.pipes_client import PipesSageMakerClient, PipesSageMakerInvocation
    from dagster_sagemaker.pipes_s3_channel import S3PipesChannel
    from dagster_sagemaker.sagemaker_resource import SageMakerResource
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
    "SageMakerJobComponent",
    "SageMakerJobError",
    "SageMakerResource",
    "SageMakerTransformClient",
    "SweptJob",
    "TransformResult",
    "sweep",
    "validate",
]

_MODULES = {
    "LocalPipesChannel": "pipes_channel",
    "LocalSageMaker": "local.service",
    "PipesChannel": "pipes_channel",
    "PipesSageMakerClient": "pipes_client",
    "PipesSageMakerInvocation": "pipes_client",
    "RequestValidationError": "validation",
    "S3PipesChannel": "pipes_s3_channel",
    "SageMakerJobComponent": "job_component",
    "SageMakerJobError": "job_results",
    "SageMakerResource": "sagemaker_resource",
    "SageMakerTransformClient": "transform_client",
    "SweptJob": "sweeper",
    "TransformResult": "transform_client",
    "sweep": "sweeper",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    # On demand, because every supervisor of a local job imports this package and must not wait for Dagster and boto3.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster's component registry gets every name listed here, and the S3 channel needs an optional dependency.
    missing = set() if find_spec("dagster_aws") else {"S3PipesChannel"}
    return sorted({*globals(), *__all__} - missing)
