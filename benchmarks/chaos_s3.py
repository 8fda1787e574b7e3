"""The platform with its lake on S3, and an S3 that fails for a while.

S3 is moto behind a real HTTP port. While it fails, each request gets, at random, 500, 503 SlowDown or a broken
connection. The lake, the jobs' inputs and outputs and the Pipes messages all use it. SageMaker requests are those of
AWS mode, answered by the local runner (`chaos_s3_location`).
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from chaos_platform import WEEK, Platform
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from m5_assets.resources.lake import Lake

BUCKET = "m5-chaos"
_FAILING_SECONDS = 10.0
_IMAGES = ("features", "gbm", "lstm", "totals")
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>Please try again.</Message></Error>"


class FailingS3:
    """An S3 service on a local port that fails while `failing` is set."""

    def __init__(self) -> None:
        self.failing = False
        self.failed = 0
        self._moto = DomainDispatcherApplication(create_backend_app)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not self.failing:
            answer: Iterable[bytes] = self._moto(environ, start_response)
            return answer
        self.failed += 1
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status = random.choice(["500 InternalError", "503 SlowDown", ""])  # noqa: S311  # no secret
        if not status:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError  # the server takes it for a disconnected client
        body = _ERROR.format(code=status.split()[1]).encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


class S3Platform(Platform):
    """The platform in AWS mode, with local S3 and SageMaker."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.s3 = FailingS3()
        # For the lake in this process.
        os.environ |= self._aws

    @cached_property
    def _aws(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.s3.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def prepare(self) -> None:
        """Build the week with a lake in a folder, then copy the lake to S3."""
        super().prepare()
        client = boto3.client("s3", endpoint_url=self.s3.endpoint)
        client.create_bucket(Bucket=BUCKET)
        folder = self.home / "lake"
        for path in folder.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), BUCKET, f"lake/{path.relative_to(folder)}")

    @property
    def environment(self) -> dict[str, str]:
        """The environment for AWS mode."""
        images = {f"M5_SAGEMAKER_{name.upper()}_IMAGE": f"m5-{name}:chaos" for name in _IMAGES}
        settings = {"M5_LAKE": f"s3://{BUCKET}/lake", "M5_SAGEMAKER_MODE": "aws", "M5_SAGEMAKER_POLL_SECONDS": "0.5"}
        return super().environment | self._aws | images | settings

    @property
    def workspace(self) -> Path:
        """The workspace file of the code location with the local SageMaker."""
        path = self.home / "workspace.yaml"
        location = Path(__file__).with_name("chaos_s3_location.py")
        path.write_text(
            f"load_from:\n  - python_file:\n      relative_path: {location}\n      location_name: m5_assets\n"
        )
        return path

    @cached_property
    def lake(self) -> Lake:
        """The lake on S3."""
        return Lake(root=f"s3://{BUCKET}/lake")

    def _clear_lake(self) -> None:
        client = boto3.client("s3", endpoint_url=self.s3.endpoint)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", ()):
                if f"/week={WEEK.key}/" in item["Key"] or f"-{WEEK.key}-" in item["Key"]:
                    client.delete_object(Bucket=BUCKET, Key=item["Key"])


def fail_s3(platform: S3Platform) -> str:
    """Let S3 fail for ten seconds, or longer until it has failed a request."""
    platform.s3.failed, platform.s3.failing = 0, True
    deadline = time.monotonic() + _FAILING_SECONDS
    while time.monotonic() < deadline or (not platform.s3.failed and platform.state() in ("running", "waiting")):
        time.sleep(0.2)
    platform.s3.failing = False
    return f"S3 failed {platform.s3.failed} requests" if platform.s3.failed else ""


S3_FAULTS = {"S3 errors": fail_s3}
