"""The sweeper: stops jobs whose Dagster run has ended without them, as when the orchestrator was killed.

Here: which running jobs belong to a run that ended. Not here: how a run's end is known, which the caller tells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dagster_sagemaker.calls import PatientCalls
from dagster_sagemaker.job_lifecycle import stop_job
from dagster_sagemaker.kinds import KINDS, JobKind
from dagster_sagemaker.ownership import owner

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
        name: Its name.
        run_id: The run that had followed it.
    """

    kind: str
    name: str
    run_id: str


def sweep(client: SageMakerClient, run_ended: Callable[[str], bool]) -> list[SweptJob]:
    """Ask all running jobs to stop whose run has ended.

    Jobs without the tag of a run, which somebody else created, are left alone, and so are those whose tags this client
    may not read. Only running jobs are listed, so the cost of a sweep does not grow with the account's history.

    Args:
        client: A boto3 SageMaker client.
        run_ended: Whether the run of this id has ended, long enough ago that no retry is about to adopt its job.

    Returns:
        The jobs, in the order of their creation.
    """
    calls = PatientCalls(client, logger, interval=_PAUSE_SECONDS, patience=_PATIENCE_SECONDS)
    swept = []
    for kind in KINDS.values():
        for summary in _running(calls, kind):
            run_id = _owner_if_ours(calls, summary[kind.job_arn])
            if run_id is not None and run_ended(run_id):
                name = summary[kind.job_name]
                logger.warning("stopping the %s job %s: its run %s has ended", kind.name, name, run_id)
                stop_job(calls, kind, name)
                swept.append(SweptJob(kind.name, name, run_id))
    return swept


def _owner_if_ours(calls: PatientCalls, arn: str) -> str | None:
    try:
        return owner(calls, arn)
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDeniedException":
            return None
        raise


def _running(calls: PatientCalls, kind: JobKind) -> Iterator[Mapping[str, Any]]:
    request: dict[str, Any] = {"StatusEquals": "InProgress", "SortBy": "CreationTime", "SortOrder": "Ascending"}
    while True:
        page = calls(f"{kind.method('List')}s", **request)
        yield from page[f"{kind.title}JobSummaries"]
        if not page.get("NextToken"):
            return
        request["NextToken"] = page["NextToken"]
