"""The resource for QuickSight's API: calls that are validated, and retried while a fault is transient.

Transient are throttling, a fault of the service, a lost connection, and a resource that is being changed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

import boto3
import dagster as dg
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from dagster_sagemaker.validation import RequestValidationError, validate

from m5_assets.errors import UserError
from m5_assets.extras.quicksight.definition_files import Request
from m5_assets.settings import QuickSightSettings

if TYPE_CHECKING:
    from mypy_boto3_quicksight import QuickSightClient

_log = logging.getLogger(__name__)

_PASSING = {"ThrottlingException", "TooManyRequestsException", "InternalFailureException", "ConflictException"}
_SERVER_ERROR = 500
_LONGEST_PAUSE_SECONDS = 60.0

Found = TypeVar("Found")


class QuickSightError(UserError):
    """QuickSight failed, took too long, or cannot be reached."""


class Refused(QuickSightError):
    """QuickSight rejects a request.

    Attributes:
        code: the exception's name in the API, such as `ResourceExistsException`.
    """

    def __init__(self, operation: str, problem: ClientError) -> None:
        self.code = str(problem.response.get("Error", {}).get("Code", ""))
        self.status = int(problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        super().__init__(f"{operation}: {self.code}: {problem.response.get('Error', {}).get('Message', 'no message')}")


class _Passing(Exception):
    """A transient fault: try again."""


class QuickSight(dg.ConfigurableResource):  # type: ignore[type-arg]
    """QuickSight of one account and region; the fields are those of `M5_QUICKSIGHT_*`."""

    account_id: str
    region: str
    prefix: str
    owners: list[str]
    readers: list[str]
    refresh: bool
    poll_seconds: float
    timeout_minutes: float

    @classmethod
    def of(cls, source: QuickSightSettings) -> Self:
        """Return the resource that settings describe."""
        return cls(**source.model_dump(mode="json", include=set(cls.model_fields)))

    @cached_property
    def _client(self) -> QuickSightClient:
        # `call` retries; botocore's own retries give up after seconds.
        once = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=20, read_timeout=60)
        return boto3.client("quicksight", region_name=self.region, config=once)

    def call(self, operation: str, **request: Any) -> Request:
        """Send a request; retry while the fault is transient, until the timeout.

        Args:
            operation: name in the API, such as `CreateIngestion`.
            request: its members; `AwsAccountId` is added where the operation takes it.

        Raises:
            Refused: QuickSight rejects it.
            QuickSightError: it breaks a limit of the API, could not be sent, or still failed at the timeout.
        """
        shape = self._client.meta.service_model.operation_model(operation).input_shape
        if shape is not None and "AwsAccountId" in shape.members:
            request["AwsAccountId"] = self.account_id
        try:
            validate(self._client, operation, request)
        except RequestValidationError as problem:
            raise QuickSightError(f"not sent: {problem}") from problem
        deadline, pause = self._deadline(), self.poll_seconds
        while True:
            try:
                return self._send(operation, request)
            except _Passing as problem:
                if time.monotonic() + pause > deadline:
                    waited = f"{operation}: retried for {self.timeout_minutes:g} minutes; the last fault: {problem}"
                    raise QuickSightError(waited) from problem
                _log.info("%s: %s; again in %.1f s", operation, problem, pause)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _send(self, operation: str, request: Request) -> Request:
        try:
            answer: Request = getattr(self._client, xform_name(operation))(**request)
        except ClientError as problem:
            refused = Refused(operation, problem)
            if refused.code in _PASSING or refused.status >= _SERVER_ERROR:
                raise _Passing(str(refused)) from problem
            raise refused from problem
        except HTTPClientError as problem:
            raise _Passing(f"{operation}: {problem}") from problem
        except BotoCoreError as problem:  # no credentials, for one
            raise QuickSightError(f"{operation}: {problem}") from problem
        return answer

    def find(self, operation: str, **request: Any) -> Request | None:
        """Return the answer, or None if there is no such resource."""
        try:
            return self.call(operation, **request)
        except Refused as problem:
            if problem.code != "ResourceNotFoundException":
                raise
            return None

    def wait(self, what: str, look: Callable[[], Found], state: Callable[[Found], str], ends: set[str]) -> Found:
        """Poll until the state is one of `ends`, and return the last answer.

        Raises:
            QuickSightError: the timeout is reached. The operation itself continues.
        """
        begin, deadline, before = time.monotonic(), self._deadline(), ""
        while True:
            found = look()
            now = state(found)
            if now != before:
                _log.info("%s: %s after %.0f s", what, now, time.monotonic() - begin)
                before = now
            if now in ends:
                return found
            if time.monotonic() + self.poll_seconds > deadline:
                raise QuickSightError(
                    f"{what} is {now} after {self.timeout_minutes:g} minutes and continues; wait longer with "
                    "M5_QUICKSIGHT_TIMEOUT_MINUTES"
                )
            time.sleep(self.poll_seconds)

    def _deadline(self) -> float:
        return time.monotonic() + 60 * self.timeout_minutes
