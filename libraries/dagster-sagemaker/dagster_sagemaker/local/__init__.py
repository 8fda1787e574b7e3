"""The local runner: SageMaker jobs as processes of this machine, behind real boto3 clients.

- `service` has the user's class, `runner_settings` its settings, `fault_plan` the faults that tests inject.
- `control` answers requests in the caller's process; `job` runs one job in a process of its own.
- They share the job's folder (`job_directory`, `shared_files`) and the care for its processes (`job_processes`).

Differences from AWS: an entry point finds its `/opt/ml` in `SAGEMAKER_BASE_DIR`, and a server its port in
`SAGEMAKER_BIND_TO_PORT`. There is no network between instances; isolated containers keep their network, but get no
credentials. Pipe mode, augmented manifests, RecordIO and data sources other than S3 are missing. Roles, keys, quotas,
volumes and memory are accepted but not enforced.
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
