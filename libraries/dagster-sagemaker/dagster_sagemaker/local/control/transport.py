"""Answers the HTTP requests of boto3 clients in this process.

A client's serialized request is decoded, passed to an operation, and the response encoded in the same protocol (AWS
JSON 1.1), errors and injected faults included, so that botocore's own parser and exceptions are used.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, cast

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from dagster_sagemaker.local.fault_plan import CallEvent, FaultPlan

Operation = Callable[[dict[str, Any]], Mapping[str, Any]]
"""An operation: from the request's members to the response's."""

_CONTENT_TYPE = "application/x-amz-json-1.1"
_SESSION_LOCK = threading.Lock()
_ANSWERS: Mapping[CallEvent | None, tuple[int, Mapping[str, str]]] = {
    "throttling": (400, {"__type": "ThrottlingException", "message": "Rate exceeded"}),
    "unavailable": (503, {"__type": "ServiceUnavailableException", "message": "Service is unavailable"}),
}


class ApiError(Exception):
    """An error of the service, which the client raises as a ClientError.

    Args:
        code: the error code, such as `ResourceInUse`.
        message: the message.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def make_client(service: str, region: str, config: Config | None) -> BaseClient:
    """Return a real boto3 client that is not connected yet (see `answer_with`).

    Its endpoint cannot resolve and its credentials are not real, so nothing can reach AWS by mistake.

    Args:
        service: the service, such as `sagemaker`.
        region: the region in ARNs.
        config: the client's configuration; None for botocore's default.
    """
    with _SESSION_LOCK:
        client: BaseClient = _session().client(  # type: ignore[call-overload]  # the service is a variable
            service,
            region_name=region,
            config=config,
            endpoint_url=f"http://{service}.local.invalid",
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106  # not a secret: nobody checks the signature
        )
    return client


@cache
def _session() -> boto3.session.Session:
    # Shared, because a session caches the service models, which take a quarter of a second to load.
    return boto3.session.Session()


def answer_with(client: BaseClient, operations: Mapping[str, Operation], faults: FaultPlan) -> None:
    """Let functions of this process answer all requests of a client.

    Args:
        client: the client.
        operations: the operations by their API names; any other is an UnknownOperationException.
        faults: the calls that have to fail.
    """

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        name = _text(request.headers["X-Amz-Target"]).rpartition(".")[2]
        fault = faults.take_call(name)
        if fault in _ANSWERS:
            return _response(request, *_ANSWERS[fault])
        if fault == "lost-request":
            raise EndpointConnectionError(endpoint_url=request.url, error="injected fault")
        response = _answer(request, name, operations)
        if fault == "lost-response":
            raise ConnectionClosedError(endpoint_url=request.url, error="injected fault")
        return response

    # If a handler of this event returns a response, botocore uses it instead of sending the request.
    client.meta.events.register("before-send", answer)  # type: ignore[arg-type]  # the stubs lack the return value


def _answer(request: AWSPreparedRequest, name: str, operations: Mapping[str, Operation]) -> AWSResponse:
    try:
        if name not in operations:
            raise ApiError("UnknownOperationException", f"the local runner does not offer {name}")  # noqa: TRY301
        return _response(request, 200, operations[name](json.loads(cast("bytes", request.body))))
    except ApiError as error:
        return _response(request, 400, {"__type": error.code, "message": str(error)})


def _response(request: AWSPreparedRequest, status: int, body: Mapping[str, Any]) -> AWSResponse:
    headers = HTTPHeaders.from_dict({"Content-Type": _CONTENT_TYPE})
    return AWSResponse(request.url, status, headers, _Body(json.dumps(body).encode()))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _Body(io.BytesIO):
    """The part of urllib3's raw response that botocore uses."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()
