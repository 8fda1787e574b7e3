"""The local runner: SageMaker jobs as processes of this machine, behind real boto3 clients.

- `service` is the user's class, `settings` what it is told, `faults` what can be made to fail on purpose.
- `control` answers requests in the caller's process; `job` runs one job in a process of its own.
- Between them lies the job's folder (`state`, `files`); `processes` leaves none behind.

What AWS does and the runner does not: `/opt/ml` itself (an entry point finds its stand-in in `SAGEMAKER_BASE_DIR`) and
port 8080 (`SAGEMAKER_BIND_TO_PORT`); a network between instances, or one taken away from isolated containers (they get
no credentials, though); Pipe mode, augmented manifests, RecordIO, data sources other than S3. Roles, keys, quotas,
volumes and memory are accepted and not enforced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_sagemaker.local.service import LocalSageMaker

__all__ = ["LocalSageMaker"]


def __getattr__(name: str) -> Any:
    # On demand, because every supervisor imports this package and must not wait for boto3.
    if name == "LocalSageMaker":
        from dagster_sagemaker.local.service import LocalSageMaker

        return LocalSageMaker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
