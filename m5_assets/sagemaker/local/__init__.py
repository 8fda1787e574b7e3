"""The local runner: SageMaker jobs as processes of this machine, behind real boto3 clients.

From the outside in: `service` (the user's class), `transport` (HTTP in process), `api` and `logs_api` (the control
plane), `state` (a job on disk), `supervisor` (the process of one job), `run` and `container` (what all jobs share),
`processing`, `training`, `transform` with `invocation` (the three kinds), `objects` (S3 as folders).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m5_assets.sagemaker.local.service import LocalSageMaker

__all__ = ["LocalSageMaker"]


def __getattr__(name: str) -> Any:
    # On demand, because every supervisor imports this package and must not wait for boto3.
    if name == "LocalSageMaker":
        from m5_assets.sagemaker.local.service import LocalSageMaker

        return LocalSageMaker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
