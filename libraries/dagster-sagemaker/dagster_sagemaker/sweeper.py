"""The sweeper: stops jobs whose Dagster run has ended without them, for example because the orchestrator was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from dagster_sagemaker.job_api import JobApi, job_api
from dagster_sagemaker.job_kinds import KINDS
from dagster_sagemaker.ownership import owner
from dagster_sagemaker.patient_calls import PatientCalls

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class SweptJob:
    """A job that was asked to stop.

    Attributes:
        kind: `processing`, `training` or `transform`.
        name: its name.
        run_id: the run that followed it.
    """

    kind: str
    name: str
    run_id: str


def sweep(client: SageMakerClient, run_ended: Callable[[str], bool]) -> list[SweptJob]:
    """Ask every running job to stop whose run has ended.

    Jobs without a run's tag, which somebody else created, are left alone; so are jobs whose tags the client may not
    read. Only running jobs are listed, so the cost of a sweep does not grow with the account's history.

    Args:
        client: a boto3 SageMaker client.
        run_ended: returns whether the run with this id ended, long enough ago that no retry is about to adopt its job.

    Returns:
        The jobs that were asked to stop, per kind in the order of their creation.
    """
    calls = PatientCalls(logger, interval=_PAUSE_SECONDS, patience=_PATIENCE_SECONDS)
    swept = []
    for kind in KINDS.values():
        api = job_api(kind, client, calls)
        for job in api.running():
            run_id = _readable_owner(api, job.arn)
            if run_id is not None and run_ended(run_id):
                logger.warning("stopping the %s job %s: its run %s has ended", kind.name, job.name, run_id)
                api.stop(job.name)
                swept.append(SweptJob(kind.name, job.name, run_id))
    return swept


def _readable_owner(api: JobApi, arn: str) -> str | None:
    try:
        return owner(api, arn)
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDeniedException":
            return None
        raise
