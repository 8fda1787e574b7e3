"""A job's log while it runs: its CloudWatch streams, copied to standard output.

Dagster captures the output of a step, so the lines appear in its log viewer without filling the event log. A log that
cannot be read never fails the job.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from dagster import DagsterLogManager

from dagster_sagemaker.job_kinds import JobKind
from dagster_sagemaker.patient_calls import is_passing

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_KEPT_LINES = 30
_MAX_PAGES = 100
_MAX_DRAIN_SECONDS = 60.0


class LogTail:
    """Follows all streams of one job from their beginning.

    Streams are looked up by their prefix every time, because their names contain a time that only AWS knows.

    Args:
        client: a boto3 CloudWatch Logs client; None to follow nothing.
        kind: the job's kind.
        job_name: the job's name.
        log: where trouble with following is logged, once.

    Attributes:
        last_lines: the last lines that were copied.
    """

    def __init__(self, client: CloudWatchLogsClient | None, kind: JobKind, job_name: str, log: DagsterLogManager):
        self._client = client
        self._group = kind.log_group
        self._prefix = f"{job_name}/"
        self._log = log
        self._tokens: dict[str, str] = {}
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def copy(self) -> int:
        """Copy new lines to standard output.

        Returns:
            The number of lines.
        """
        if self._client is None:
            return 0
        count = 0
        try:
            for stream in self._streams(self._client):
                for line in self._new_lines(self._client, stream):
                    sys.stdout.write(line + "\n")
                    self.last_lines.append(line)
                    count += 1
        except (ClientError, BotoCoreError) as error:
            if not (_is_not_there_yet(error) or is_passing(error)):
                self._log.warning(f"The log of the job {self._prefix[:-1]} cannot be followed: {error}")
                self._client = None
        if count:
            sys.stdout.flush()
        return count

    def drain(self, wait: float) -> None:
        """Copy until one wait brings nothing new, for a minute at most: CloudWatch lags by seconds.

        Args:
            wait: seconds between two reads.
        """
        give_up = time.monotonic() + _MAX_DRAIN_SECONDS
        self.copy()
        if self._client is not None:
            time.sleep(wait)
            while self.copy() and time.monotonic() < give_up:
                time.sleep(wait)

    def _streams(self, client: CloudWatchLogsClient) -> list[str]:
        pages = client.get_paginator("describe_log_streams").paginate(
            logGroupName=self._group, logStreamNamePrefix=self._prefix
        )
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    def _new_lines(self, client: CloudWatchLogsClient, stream: str) -> Iterator[str]:
        for _ in range(_MAX_PAGES):
            token = self._tokens.get(stream)
            if token is None:
                page = client.get_log_events(logGroupName=self._group, logStreamName=stream, startFromHead=True)
            else:
                page = client.get_log_events(logGroupName=self._group, logStreamName=stream, nextToken=token)
            yield from (event["message"] for event in page["events"])
            self._tokens[stream] = page["nextForwardToken"]
            # CloudWatch marks the end of a stream by returning the same token again.
            if page["nextForwardToken"] == token:
                return


def _is_not_there_yet(error: Exception) -> bool:
    """Return whether the group or stream does not exist yet: both appear with the first line."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException"
