"""The records of deployments, in the lake's bucket below `deployments/`: what `--undo` goes back to.

A record is the whole release, written when its deployment begins and again when it has succeeded.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
from botocore.exceptions import ClientError

from m5_assets.errors import UserError
from m5_assets.extras.deployment.releases import Environment, Release

_PREFIX = "deployments/"


class Records:
    """The records of an environment.

    Args:
        environment: the environment.
    """

    def __init__(self, environment: Environment) -> None:
        self._s3 = boto3.client("s3", region_name=environment.region)
        self._bucket = f"m5-{environment.name}-lake-{environment.account}"
        self._begun = ""

    def begin(self, release: Release) -> None:
        """Write that a deployment begins. The first one of all makes the bucket, and is written when it is done."""
        self._begun = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            self._write(release, good=False)
        except ClientError as problem:
            if problem.response["Error"]["Code"] != "NoSuchBucket":
                raise

    def finish(self, release: Release) -> None:
        """Write that the deployment which `begin` wrote has succeeded."""
        self._write(release, good=True)

    def previous(self) -> Release:
        """Return the newest good release whose content is not that of the newest attempt.

        Raises:
            UserError: there is none.
        """
        newest = ""
        for content in self._newest_first():
            release = Release.from_json(content["release"])
            newest = newest or release.id
            if content["good"] and release.id != newest:
                return release
        raise UserError("there is no earlier deployment that succeeded: nothing to go back to")

    def _write(self, release: Release, *, good: bool) -> None:
        made = replace(release, made=release.made or self._begun)
        body = json.dumps({"good": good, "release": made.as_json()}, indent=1).encode()
        self._s3.put_object(Bucket=self._bucket, Key=f"{_PREFIX}{self._begun}.json", Body=body)

    def _newest_first(self) -> Iterator[dict[str, Any]]:
        try:
            pages = list(self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=_PREFIX))
        except ClientError as problem:
            if problem.response["Error"]["Code"] == "NoSuchBucket":
                return
            raise
        keys = sorted((entry["Key"] for page in pages for entry in page.get("Contents", ())), reverse=True)
        for key in keys:
            yield json.loads(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
