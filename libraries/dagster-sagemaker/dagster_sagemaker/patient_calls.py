"""Calls to AWS that wait out throttling and a lost network, because the job that they follow keeps running."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from botocore.exceptions import ClientError, CredentialRetrievalError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

P = ParamSpec("P")
R = TypeVar("R")

PASSING_ERRORS = (ClientError, BotoConnectionError, HTTPClientError, CredentialRetrievalError, ResponseParserError)
"""The errors that `is_passing` judges; any other is a defect or a wrong setting, which waiting does not fix."""

_MAX_PAUSE_SECONDS = 60.0
_NOTICE_SECONDS = 60.0
_JITTER = 0.25


class PatientCalls:
    """Calls methods of boto3 clients, and repeats a call while its error may pass.

    The pauses double from the poll interval up to a minute. Create the clients with
    `Config(retries={"total_max_attempts": 1})`; otherwise botocore's own retries multiply with these.

    Args:
        log: where trouble is logged: when it begins, once per minute, and when it ends.
        interval: seconds between two polls; also the first pause after an error.
        patience: seconds of uninterrupted trouble after which the error is raised.

    Attributes:
        made: number of calls per method name, retries included.
    """

    def __init__(self, log: logging.Logger, *, interval: float, patience: float):
        self._log = log
        self._interval = interval
        self._patience = patience
        self.made: Counter[str] = Counter()

    def __call__(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a bound method of a client, such as `client.describe_training_job`.

        Args:
            method: the method.
            args: its positional arguments; boto3's methods take none.
            kwargs: the members of the request.

        Raises:
            ClientError: the error does not pass, or did not pass in time; likewise the other `PASSING_ERRORS`.
        """
        name: str = getattr(method, "__name__", repr(method))
        since = last_notice = time.monotonic()
        tries = 0
        while True:
            self.made[name] += 1
            try:
                response = method(*args, **kwargs)
            except PASSING_ERRORS as error:
                now = time.monotonic()
                if not is_passing(error) or now - since > self._patience:
                    raise
                if tries == 0 or now - last_notice > _NOTICE_SECONDS:
                    last_notice = now
                    self._log.warning(f"{name}: {error}; retrying for up to {self._patience - (now - since):,.0f} s")
                self.pause(min(self._interval * 2**tries, max(self._interval, _MAX_PAUSE_SECONDS)))
                tries += 1
            else:
                if tries:
                    self._log.info(f"{name}: answered again after {time.monotonic() - since:,.0f} s")
                return response

    def pause(self, seconds: float | None = None) -> None:
        """Sleep for the interval, or for the given seconds, plus up to a quarter more.

        Only ever longer, so that an interval of 15 seconds means at most four calls per minute; random, so that jobs
        created together are not described together.
        """
        length = self._interval if seconds is None else seconds
        time.sleep(length * random.uniform(1.0, 1.0 + _JITTER))  # noqa: S311  # not for cryptography


def is_passing(error: Exception) -> bool:
    """Return whether a retry may succeed: throttling, trouble inside AWS, or a lost network."""
    if not isinstance(error, ClientError):
        return True
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "Throttl" in code or code in ("TooManyRequestsException", "RequestTimeout") or status >= 500
