"""The operations of CloudWatch Logs, over the log files of the jobs.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_sagemaker.job_kinds import KINDS
from dagster_sagemaker.local.control.transport import ApiError, Operation

_MAX_EVENTS = 10_000
_MAX_BYTES = 1024 * 1024
_EVENT_OVERHEAD = 26
_MAX_STREAMS = 50
_SUFFIX = ".jsonl"


@dataclass(frozen=True)
class _Event:
    """One line of a stream: bytes [start, end) of its file."""

    start: int
    end: int
    timestamp: int
    message: str

    def as_output(self) -> dict[str, Any]:
        return {"timestamp": self.timestamp, "message": self.message, "ingestionTime": self.timestamp}


class LogsApi:
    """Answers DescribeLogStreams, GetLogEvents and FilterLogEvents.

    Args:
        jobs: `<home>/jobs`.
    """

    def __init__(self, jobs: Path):
        self._jobs = jobs

    def operations(self) -> Mapping[str, Operation]:
        """Return the operations by their API names."""
        return {
            "DescribeLogStreams": self.describe_log_streams,
            "GetLogEvents": self.get_log_events,
            "FilterLogEvents": self.filter_log_events,
        }

    def describe_log_streams(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of the streams with a prefix, in the order of their names or last events."""
        prefix, by_time = request.get("logStreamNamePrefix", ""), request.get("orderBy") == "LastEventTime"
        if prefix and by_time:
            message = "Cannot order by LastEventTime with a logStreamNamePrefix."
            raise ApiError("InvalidParameterException", message)
        streams = [_described(name, path) for name, path in self._streams(request["logGroupName"], prefix)]
        streams.sort(
            key=lambda stream: (stream.get("lastEventTimestamp", 0) if by_time else 0, stream["logStreamName"]),
            reverse=request.get("descending", False),
        )
        begin = _position(request.get("nextToken", "s/0"), "s")
        end = begin + request.get("limit", _MAX_STREAMS)
        return {"logStreams": streams[begin:end], **({"nextToken": f"s/{end}"} if end < len(streams) else {})}

    def get_log_events(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of a stream's events, oldest first.

        Without a token, startFromHead selects the first events, otherwise the last. Tokens are `f/<byte>` and
        `b/<byte>`; at either end the same token is returned again.
        """
        job_name, _, stream = request["logStreamName"].partition("/")
        path = self._group(request["logGroupName"]) / job_name / "logs" / f"{stream}{_SUFFIX}"
        if ".." in path.parts or not path.is_file():
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        limit, token = request.get("limit", _MAX_EVENTS), request.get("nextToken", "")
        wanted = _in_time(request)
        if token.startswith("f/") or (not token and request.get("startFromHead", False)):
            begin = _position(token or "f/0", "f")
            page = _first(filter(wanted, _events(path, begin)), limit)
            first, last = begin, (page[-1].end if page else begin)
        else:
            end = _position(token, "b") if token else path.stat().st_size
            found = [event for event in _events(path, 0) if event.end <= end and wanted(event)]
            page = _first(reversed(found), limit)[::-1]
            first, last = (page[0].start if page else end), end
            if page:
                last = page[-1].end
        events = [event.as_output() for event in page]
        return {"events": events, "nextForwardToken": f"f/{last}", "nextBackwardToken": f"b/{first}"}

    def filter_log_events(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of the events of several streams, in the order of time."""
        if request.get("filterPattern", "").strip():
            raise ApiError("InvalidParameterException", "the local runner offers no filterPattern")
        names = request.get("logStreamNames")
        wanted = _in_time(request)
        found = [
            ((event.timestamp, name, event.start), event)
            for name, path in self._streams(request["logGroupName"], request.get("logStreamNamePrefix", ""))
            if names is None or name in names
            for event in _events(path, 0)
            if wanted(event)
        ]
        found.sort(key=lambda pair: pair[0])
        if "nextToken" in request:
            after = tuple(json.loads(request["nextToken"]))
            found = [pair for pair in found if pair[0] > after]
        page = found[: request.get("limit", _MAX_EVENTS)]
        events = [
            {**event.as_output(), "logStreamName": key[1], "eventId": f"{key[1]}:{event.start}"} for key, event in page
        ]
        return {"events": events, **({"nextToken": json.dumps(page[-1][0])} if len(page) < len(found) else {})}

    def _streams(self, group_name: str, prefix: str) -> Iterator[tuple[str, Path]]:
        """Yield the names and files of the streams with a prefix; a prefix with a slash names one job."""
        group = self._group(group_name)
        job_name, slash, _ = prefix.partition("/")
        folders = [group / job_name] if slash else group.glob(f"{job_name}*")
        for folder in folders:
            for path in (folder / "logs").rglob(f"*{_SUFFIX}"):
                name = f"{folder.name}/{path.relative_to(folder / 'logs').with_suffix('').as_posix()}"
                if name.startswith(prefix):
                    yield name, path

    def _group(self, name: str) -> Path:
        for kind in KINDS.values():
            folder = self._jobs / kind.name
            if kind.log_group == name and folder.is_dir():
                return folder
        raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")


def _events(path: Path, start: int) -> Iterator[_Event]:
    """Yield the complete lines of a file from a byte onwards."""
    with path.open("rb") as lines:
        lines.seek(start)
        while (line := lines.readline()).endswith(b"\n"):
            event = json.loads(line)
            yield _Event(start, start + len(line), event["timestamp"], event["message"])
            start += len(line)


def _first(events: Iterator[_Event], limit: int) -> list[_Event]:
    """Return as many events as fit into one response."""
    page: list[_Event] = []
    size = 0
    for event in events:
        size += len(event.message.encode()) + _EVENT_OVERHEAD
        # A single event always fits, however long.
        if len(page) == limit or (page and size > _MAX_BYTES):
            break
        page.append(event)
    return page


def _in_time(request: Mapping[str, Any]) -> Callable[[_Event], bool]:
    start, end = request.get("startTime", float("-inf")), request.get("endTime", float("inf"))
    return lambda event: start <= event.timestamp < end


def _described(name: str, path: Path) -> dict[str, Any]:
    described: dict[str, Any] = {"logStreamName": name}
    first = next(_events(path, 0), None)
    if first is not None:
        # The file's own time stands for the last event, so that a long log is not read through every time.
        last = max(first.timestamp, path.stat().st_mtime_ns // 1_000_000)
        described |= {
            "creationTime": first.timestamp,
            "firstEventTimestamp": first.timestamp,
            "lastEventTimestamp": last,
        }
    return described


def _position(token: str, sort: str) -> int:
    head, _, number = token.partition("/")
    if head != sort or not number.isdigit():
        raise ApiError("InvalidParameterException", "The specified nextToken is invalid.")
    return int(number)
