"""Groups of run statuses; Dagster has them too but does not export them."""

from dagster import DagsterRunStatus as Status

FINISHED = [Status.SUCCESS, Status.FAILURE, Status.CANCELED]
UNFINISHED = [status for status in Status if status not in FINISHED]
IN_PROGRESS = [Status.STARTING, Status.STARTED, Status.SUSPENDED, Status.CANCELING]
"""The run has a process, or had one until it was lost."""
