"""Calls of AWS that outlast throttling and a lost network: a job goes on meanwhile, so who follows it waits too.

Here: which errors pass, how long and how often a call is tried again, and how many calls were made. Not here: what the
calls are for (`jobs`, `sweeper`).
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from botocore.client import BaseClient
from botocore.exceptions import ClientError, CredentialRetrievalError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

PASSING_ERRORS = (ClientError, BotoConnectionError, HTTPClientError, CredentialRetrievalError, ResponseParserError)
"""What `is_passing` judges; any other error is a defect or a setting, which no waiting mends."""

_MAX_PAUSE_SECONDS = 60.0
_NOTICE_SECONDS = 60.0
_JITTER = 0.25


class PatientCalls:
    """A boto3 client whose calls are tried again for as long as their error may pass.

    The pauses double from the poll interval up to a minute. Create the client with
    `Config(retries={"total_max_attempts": 1})`, else botocore's own tries multiply with these.

    Args:
        client: A boto3 client.
        log: Where trouble is told: its begin, once a minute, and its end.
        interval: Seconds between two polls; the first pause after an error.
        patience: Seconds of trouble without a break after which the error is raised.

    Attributes:
        made: How often each method was called, tries included.
    """

    def __init__(self, client: BaseClient, log: logging.Logger, *, interval: float, patience: float):
        self._client = client
        self._log = log
        self._interval = interval
        self._patience = patience
        self.made: Counter[str] = Counter()

    def __call__(self, method: str, **request: Any) -> Mapping[str, Any]:
        """Call a method of the client, such as `describe_training_job`.

        Raises:
            ClientError: Of a kind that does not pass, or of one that did not pass in time; so with the other
                `PASSING_ERRORS`.
        """
        since = last_notice = time.monotonic()
        tries = 0
        while True:
            self.made[method] += 1
            try:
                response: Mapping[str, Any] = getattr(self._client, method)(**request)
            except PASSING_ERRORS as error:
                now = time.monotonic()
                if not is_passing(error) or now - since > self._patience:
                    raise
                if tries == 0 or now - last_notice > _NOTICE_SECONDS:
                    last_notice = now
                    self._log.warning(
                        f"{method}: {error}; trying again, for up to {self._patience - (now - since):,.0f} s"
                    )
                self.pause(min(self._interval * 2**tries, max(self._interval, _MAX_PAUSE_SECONDS)))
                tries += 1
            else:
                if tries:
                    self._log.info(f"{method}: answered again after {time.monotonic() - since:,.0f} s")
                return response

    def pause(self, seconds: float | None = None) -> None:
        """Sleep for the interval, or for so long, and up to a quarter longer.

        Longer only, so that an interval of 15 seconds never means more than four calls a minute; at random, so that
        jobs that were created together are not described together.
        """
        length = self._interval if seconds is None else seconds
        time.sleep(length * random.uniform(1.0, 1.0 + _JITTER))  # noqa: S311  # not for cryptography


def is_passing(error: Exception) -> bool:
    """Whether a later try may succeed: throttling, trouble inside AWS, or a network that is lost."""
    if not isinstance(error, ClientError):
        return True
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "Throttl" in code or code in ("TooManyRequestsException", "RequestTimeout") or status >= 500
