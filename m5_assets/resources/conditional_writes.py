"""Replace a small file only if nobody else has: by a lock in a folder, by `If-Match` on S3."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# S3's answers if the object changed, changes right now, or is gone:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; the system releases that of a process that dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def s3_client() -> S3Client:
    """Return a client that is as patient as PyArrow's file system."""
    return boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 10}))


def read_object(client: S3Client, path: str) -> tuple[bytes, str]:
    """Return content and ETag of the object at `bucket/key`; both are empty if there is none."""
    bucket, _, key = path.partition("/")
    try:
        found = client.get_object(Bucket=bucket, Key=key)
        return found["Body"].read(), found["ETag"]
    except ClientError as problem:
        if _code(problem) == "NoSuchKey":
            return b"", ""
        raise


def replace_object(client: S3Client, path: str, content: bytes, etag: str) -> bool:
    """Write the object at `bucket/key` if it still has this ETag, or if there is still none for an empty one.

    Returns:
        whether it has the content now. A repeated request may find that the first one has written it.
    """
    bucket, _, key = path.partition("/")
    condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    try:
        client.put_object(Bucket=bucket, Key=key, Body=content, **condition)
    except ClientError as problem:
        if _code(problem) not in _LOST:
            raise
        return read_object(client, path)[0] == content
    return True


def _code(problem: ClientError) -> str:
    return problem.response.get("Error", {}).get("Code", "")
