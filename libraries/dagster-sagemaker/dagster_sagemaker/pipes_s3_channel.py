"""The Pipes channel through S3.

In a module of its own because `dagster_aws` takes as long to import as Dagster itself, and is an optional dependency.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError
from dagster import PipesContextInjector, PipesMessageReader
from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader
from dagster_pipes import PipesContextData, PipesParams

from dagster_sagemaker.pipes_channel import checked

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3PipesChannel:
    """Carries context and messages through S3, below `s3://<bucket>/<prefix>/<job name>/`.

    The job reads and writes them with `dagster_pipes.PipesS3ContextLoader` and `PipesS3MessageWriter`.

    Args:
        s3_client: a boto3 S3 client.
        bucket: a bucket that the orchestrator and the job's role may read and write.
        prefix: a key prefix, short enough for the encoded place to fit 256 characters.
        interval: seconds between two reads of new messages.
    """

    def __init__(self, s3_client: S3Client, bucket: str, prefix: str, *, interval: float = 10.0):
        self._client = s3_client
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._interval = interval

    def injector(self, job_name: str) -> PipesContextInjector:
        """Return the injector that gives a job its context."""
        return _S3ContextInjector(client=self._client, bucket=self._bucket, key_prefix=self._job_prefix(job_name))

    def reader(self, job_name: str) -> PipesMessageReader:
        """Return the reader of a job's messages, from the first one on."""
        reader = _S3MessageReader(client=self._client, bucket=self._bucket, interval=self._interval)
        reader.key_prefix = f"{self._job_prefix(job_name)}/messages"
        return reader

    def _job_prefix(self, job_name: str) -> str:
        return f"{self._prefix}/{job_name}" if self._prefix else job_name


class _S3ContextInjector(PipesS3ContextInjector):
    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        key = f"{self.key_prefix}/context.json"
        self.client.put_object(Bucket=self.bucket, Key=key, Body=json.dumps(context_data).encode())
        yield checked({"bucket": self.bucket, "key": key}, "use a shorter bucket name or prefix")


class _S3MessageReader(PipesS3MessageReader):
    key_prefix: str

    @contextmanager
    def get_params(self) -> Iterator[PipesParams]:
        params = {"bucket": self.bucket, "key_prefix": self.key_prefix}
        yield checked(params, "use a shorter bucket name or prefix")

    def messages_are_readable(self, params: PipesParams) -> bool:
        # The base class handles errors that S3 returns; a lost connection would end the reading for good.
        try:
            return super().messages_are_readable(params)
        except BotoCoreError:
            return False

    def download_messages_chunk(self, index: int, params: PipesParams) -> str | None:
        try:
            return super().download_messages_chunk(index, params)
        except BotoCoreError:
            return None

    def download_messages(self, cursor: Any, params: PipesParams) -> tuple[Any, str] | None:
        # All chunks at once: the base class reads one per second and gives up 10 s after the end, which would lose most
        # messages of a long job that is adopted after it completed.
        chunks: list[str] = []
        while (chunk := super().download_messages(cursor, params)) is not None:
            cursor = chunk[0]
            chunks.append(chunk[1])
        return (cursor, "\n".join(chunks)) if chunks else None
