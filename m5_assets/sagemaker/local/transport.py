"""Between a boto3 client and the local runner: requests of HTTP answered in this process.

A client sends its serialised request; here it is decoded, handed to the API, and the answer encoded in the same
protocol (AWS JSON 1.1), errors included, so that botocore's own parser and exceptions are at work. Not here: what the
operations do (`api`, `logs_api`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.client import BaseClient
from botocore.compat import HTTPHeaders

Operation = Callable[[dict[str, Any]], Mapping[str, Any]]
"""An operation: from the request's members to the response's."""

_CONTENT_TYPE = "application/x-amz-json-1.1"


class ApiError(Exception):
    """An error of the service, which the client raises as a ClientError.

    Args:
        code: The error code, such as `ResourceInUse`.
        message: The message.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def make_client(service: str, region: str, operations: Mapping[str, Operation]) -> BaseClient:
    """A real boto3 client whose requests are answered by functions of this process.

    Its endpoint is a name that cannot resolve and its credentials are none, so nothing can reach AWS by mistake.

    Args:
        service: The service, such as `sagemaker`.
        region: The region that ARNs name.
        operations: The operations by their API names; any other is an UnknownOperationException.
    """
    client: BaseClient = boto3.session.Session(region_name=region).client(  # type: ignore[call-overload]  # by its name
        service,
        endpoint_url=f"http://{service}.local.invalid",
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106  # not a secret: nothing is signed for anybody
    )

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        return _answer(request, operations)

    # botocore takes the first response that a handler of this event returns instead of sending the request.
    client.meta.events.register(f"before-send.{service}", answer)  # type: ignore[arg-type]  # the stubs know no answer
    return client


def _answer(request: AWSPreparedRequest, operations: Mapping[str, Operation]) -> AWSResponse:
    name = _text(request.headers["X-Amz-Target"]).rpartition(".")[2]
    try:
        if name not in operations:
            raise ApiError("UnknownOperationException", f"the local runner does not offer {name}")  # noqa: TRY301
        status, body = 200, dict(operations[name](json.loads(cast("bytes", request.body))))
    except ApiError as error:
        status, body = 400, {"__type": error.code, "message": str(error)}
    headers = HTTPHeaders.from_dict({"Content-Type": _CONTENT_TYPE})
    return AWSResponse(request.url, status, headers, _Body(json.dumps(body).encode()))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _Body(io.BytesIO):
    """What botocore expects of urllib3's raw response."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()
