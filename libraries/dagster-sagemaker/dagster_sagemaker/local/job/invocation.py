"""The requests of a Batch Transform job to its model server.

Contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_sagemaker.local.job.outcome import JobFailure

_HOST = "127.0.0.1"
_PING_SECONDS = 2
_PARAMETERS_SECONDS = 30
_DEFAULT_TIMEOUT_SECONDS = 600
_DEFAULT_RETRIES = 3
_MEGABYTE = 1024 * 1024
_FIRST_PAUSE_SECONDS = 0.05
_SHOWN_BODY = 300


class InvocationError(Exception):
    """A request got no usable response; the message is for the data log."""


@dataclass(frozen=True)
class ServerParameters:
    """How requests are made: as the job says, else as the server says, else SageMaker's defaults.

    Attributes:
        concurrency: number of requests at a time.
        max_payload: limit for the bytes of a request's body; 0 for none.
        multi_record: whether a request may contain several records.
    """

    concurrency: int
    max_payload: int
    multi_record: bool


@dataclass(frozen=True)
class Batch:
    """The part of an object that is sent in one request: bytes [start, start + length)."""

    path: Path
    start: int
    length: int

    def read(self) -> bytes:
        """Return the request's body."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.length)


class ServingClient:
    """Talks to the model server of one instance, on a free loopback port.

    Args:
        request: the request that created the job.
    """

    def __init__(self, request: Mapping[str, Any]):
        self._request = request
        self.port = _free_port()
        self._cancelled = threading.Event()
        config = request.get("ModelClientConfig", {})
        self._timeout = config.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT_SECONDS)
        self._retries = config.get("InvocationsMaxRetries", _DEFAULT_RETRIES)
        self._headers = {
            "Content-Type": request["TransformInput"].get("ContentType", "application/octet-stream"),
            "Accept": request["TransformOutput"].get("Accept", "*/*"),
        }

    def ping(self) -> bool:
        """Return whether the server is ready."""
        try:
            return self._send("GET", "/ping", timeout=_PING_SECONDS)[0] == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def parameters(self) -> ServerParameters:
        """Ask the server how to make requests; one without `/execution-parameters` leaves it to the job.

        Raises:
            JobFailure: the server's response is malformed or missing.
        """
        try:
            status, body = self._send("GET", "/execution-parameters", timeout=_PARAMETERS_SECONDS)
            preferences: dict[str, Any] = json.loads(body) if status == http.HTTPStatus.OK else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise JobFailure(f"AlgorithmError: /execution-parameters: {type(error).__name__}: {error}") from error
        chosen = {**preferences, **self._request}
        return ServerParameters(
            concurrency=max(1, int(chosen.get("MaxConcurrentTransforms", 1))),
            max_payload=int(chosen.get("MaxPayloadInMB", 6)) * _MEGABYTE,
            multi_record=str(chosen.get("BatchStrategy", "MultiRecord")).replace("_", "").lower() == "multirecord",
        )

    def invoke(self, batch: Batch) -> bytes:
        """Return the server's response to one batch; server errors and lost connections are retried.

        Raises:
            InvocationError: no response with status 200 after all retries.
        """
        body = batch.read()
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt and self._cancelled.wait(_FIRST_PAUSE_SECONDS * 2**attempt):
                break
            try:
                status, answer = self._send("POST", "/invocations", body, self._headers, self._timeout)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if status == http.HTTPStatus.OK:
                return answer
            problem = f"HTTP {status}: {answer[:_SHOWN_BODY].decode('utf-8', errors='replace')}"
            if status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                break
        raise InvocationError(problem)

    def cancel(self) -> None:
        """Stop retrying requests."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = _PING_SECONDS,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def split_object(path: Path, split_type: str, parameters: ServerParameters) -> Iterator[Batch]:
    """Yield the batches of one object; a batch never crosses objects.

    Args:
        path: the object.
        split_type: `None` (the whole object is one batch) or `Line`.
        parameters: the limits.

    Raises:
        InvocationError: the object, or one of its records, is larger than a request may be.
    """
    limit = parameters.max_payload
    if split_type == "None":
        yield _checked(Batch(path, 0, path.stat().st_size), limit, "object")
        return
    start = length = 0
    with path.open("rb") as lines:
        for line in lines:
            full = limit and length + len(line) > limit
            if length and (full or not parameters.multi_record):
                yield _checked(Batch(path, start, length), limit, "record")
                start, length = start + length, 0
            length += len(line)
    if length:
        yield _checked(Batch(path, start, length), limit, "record")


def _checked(batch: Batch, limit: int, unit: str) -> Batch:
    if limit and batch.length > limit:
        raise InvocationError(
            f"the {unit} at byte {batch.start} has {batch.length} bytes, but MaxPayloadInMB allows {limit}"
        )
    return batch


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
