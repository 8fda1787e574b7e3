"""S3 as a service: objects are read and written through boto3, at any endpoint.

boto3 is imported with the first store and not with this module, because most supervisors work without it and must start
quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dagster_sagemaker.local.job.outcome import JobFailure


class HttpStore:
    """An `ObjectStore` of an S3 service.

    boto3 finds the credentials in the environment.

    Args:
        endpoint: the service's URL.
        region: its region.
    """

    def __init__(self, endpoint: str, region: str):
        import boto3  # see the module's docstring
        from botocore.exceptions import BotoCoreError, ClientError

        self._client = boto3.client("s3", endpoint_url=endpoint, region_name=region)
        self._errors = (BotoCoreError, ClientError, boto3.exceptions.S3UploadFailedError)

    def list_keys(self, uri: str) -> Sequence[str]:
        """Return the keys below a prefix that ends with `/`, relative to it and sorted."""
        bucket, prefix = _split(uri)
        with self._reported(uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        # Consoles create empty objects to mark folders.
        return sorted(key.removeprefix(prefix) for key in keys if not key.endswith("/"))

    def exists(self, uri: str) -> bool:
        """Return whether an object exists."""
        bucket, key = _split(uri)
        with self._reported(uri):
            found = self._client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        # Of all keys with this prefix, the object's own is the first.
        return any(item["Key"] == key for item in found.get("Contents", ()))

    def download(self, uri: str, target: Path) -> None:
        """Write an object to a file."""
        bucket, key = _split(uri)
        with self._reported(uri):
            self._client.download_file(bucket, key, str(target))

    def upload(self, source: Path, uri: str) -> None:
        """Store a file as an object."""
        bucket, key = _split(uri)
        with self._reported(uri):
            self._client.upload_file(str(source), bucket, key)

    @contextmanager
    def _reported(self, uri: str) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise JobFailure(f"{_who_failed(error)}: {uri}: {error}") from error


def _who_failed(error: Exception) -> str:
    """Return the first word of the failure reason: an S3 that is down or throttles is not the request's fault."""
    from dagster_sagemaker.patient_calls import PASSING_ERRORS, is_passing  # imports boto3

    cause = error if isinstance(error, PASSING_ERRORS) else error.__context__  # boto3 wraps what failed an upload
    passes = isinstance(cause, PASSING_ERRORS) and is_passing(cause)
    return "InternalServerError" if passes else "ClientError"


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise JobFailure(f"ClientError: {uri} is not of the form s3://<bucket>/<key>")
    return bucket, key
