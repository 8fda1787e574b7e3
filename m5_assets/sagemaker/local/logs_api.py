"""The two operations of CloudWatch Logs that follow a job's log, over the files of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m5_assets.sagemaker.kinds import KINDS
from m5_assets.sagemaker.local.transport import ApiError, Operation

_MAX_EVENTS = 10_000
_SUFFIX = ".jsonl"


class LogsApi:
    """DescribeLogStreams and GetLogEvents.

    Args:
        jobs: `<home>/jobs`.
    """

    def __init__(self, jobs: Path):
        self._jobs = jobs

    def operations(self) -> Mapping[str, Operation]:
        """The operations by their API names."""
        return {"DescribeLogStreams": self.describe_log_streams, "GetLogEvents": self.get_log_events}

    def describe_log_streams(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The streams whose names begin with a prefix."""
        group, prefix = self._group(request["logGroupName"]), request.get("logStreamNamePrefix", "")
        job_name, _, rest = prefix.partition("/")
        folders = [group / job_name] if rest or prefix.endswith("/") else group.glob(f"{job_name}*")
        names = [
            f"{folder.name}/{path.relative_to(folder / 'logs').with_suffix('').as_posix()}"
            for folder in folders
            for path in (folder / "logs").rglob(f"*{_SUFFIX}")
        ]
        return {"logStreams": [{"logStreamName": name} for name in sorted(names) if name.startswith(prefix)]}

    def get_log_events(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Events from a token or from the head on; tokens are `f/<byte>`, and the last one repeats at the end."""
        job_name, _, stream = request["logStreamName"].partition("/")
        path = self._group(request["logGroupName"]) / job_name / "logs" / f"{stream}{_SUFFIX}"
        if ".." in path.parts or not path.is_file():
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        limit = request.get("limit", _MAX_EVENTS)
        events: list[dict[str, Any]] = []
        with path.open("rb") as lines:
            offset = int(request.get("nextToken", "f/0").removeprefix("f/"))
            lines.seek(offset)
            while len(events) < limit and (line := lines.readline()).endswith(b"\n"):
                event = json.loads(line)
                events.append({**event, "ingestionTime": event["timestamp"]})
                offset += len(line)
        return {"events": events, "nextForwardToken": f"f/{offset}", "nextBackwardToken": "f/0"}

    def _group(self, name: str) -> Path:
        for kind in KINDS.values():
            folder = self._jobs / kind.name
            if kind.log_group == name and folder.is_dir():
                return folder
        raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
