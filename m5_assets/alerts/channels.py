"""Where a message is sent: the log, and every service that the library apprise knows by URL."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from m5_assets.alerts.incidents import Message
from m5_assets.settings import AlertSettings

if TYPE_CHECKING:
    from types import ModuleType

    from apprise import NotifyBase

log = logging.getLogger("m5.alerts")

SNS_SCHEME = "snstopic"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SHORTEST_SECRET = 4

# URLs hold passwords and tokens. apprise logs them at DEBUG and in some errors, urllib3 logs their paths at DEBUG, so
# neither reaches a log; what apprise warns of is read from its results.
_apprise_log = logging.getLogger("apprise")
_apprise_log.setLevel(logging.WARNING)
_apprise_log.propagate = False
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


class DeliveryError(Exception):
    """A channel did not accept a message; the text says why and holds no secret."""


class Channel(Protocol):
    """A place that messages are sent to."""

    @property
    def name(self) -> str:
        """Its name in the notifier's state and in logs; holds no secret."""

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            DeliveryError: the channel cannot be used, cannot be reached, or refused the message.
        """


@dataclass(frozen=True)
class LogChannel:
    """The log of the process that looks for incidents."""

    name: str = "log"

    def send(self, message: Message) -> None:
        """Write the message as one record."""
        log.log(logging.ERROR if message.begun else logging.INFO, "%s\n%s", message.subject, message.body)


@dataclass(frozen=True)
class AppriseChannel:
    """A service that apprise sends to, by its URL."""

    name: str
    url: SecretStr

    def send(self, message: Message) -> None:
        """Send the message as plain text; apprise gives up after 60 seconds."""
        apprise = _apprise()
        sender = apprise.Apprise()
        sender.add(self.service())
        kind = apprise.NotifyType.FAILURE if message.begun else apprise.NotifyType.SUCCESS
        result = sender.notify(message.body, message.subject, kind, body_format=apprise.NotifyFormat.TEXT)
        if not result:
            reasons = [entry.message for service in result.results for entry in service.logs()]
            raise DeliveryError(_masked("; ".join(reasons) or result.status.name.lower(), self.url))

    def service(self) -> NotifyBase:
        """Return apprise's object for the URL.

        Raises:
            DeliveryError: apprise cannot use the URL, or would send unencrypted to another machine.
        """
        apprise = _apprise()
        url = self.url.get_secret_value()
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as warnings:
            found: NotifyBase | None = apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(app_id="m5"))
        if found is None:
            reason = _masked((warnings.getvalue().splitlines() or [""])[0], self.url)
            raise DeliveryError(f"{reason} (https://appriseit.com/services/ shows the URL of each service)")
        secure = _schemes(found.secure_protocol)
        if secure and found.schema not in secure and found.host not in _LOOPBACK:
            raise DeliveryError(f"{found.schema}:// would send unencrypted: use {secure[0]}://")
        if not secure and found.host not in _LOOPBACK and "{host}" in str(found.templates):
            raise DeliveryError(f"{found.schema}:// knows no encryption: use another service, or one on this machine")
        if getattr(found, "secure_mode", "") == "insecure" and found.host not in _LOOPBACK:
            raise DeliveryError(f"{found.schema}:// with mode=insecure would send unencrypted: leave the mode out")
        if "overflow=" not in url:
            found.overflow_mode = apprise.OverflowMode.SPLIT  # chat services limit a message's length
        return found


def channels_of(settings: AlertSettings) -> list[Channel]:
    """Return the log and the channels that are set. A scheme that occurs again is numbered: `mailtos`, `mailtos-2`."""
    channels: list[Channel] = [LogChannel()]
    seen = Counter[str]()
    for url in settings.urls:
        scheme = url.get_secret_value().split("://")[0].lower()
        seen[scheme] += 1
        channels.append(AppriseChannel(scheme if seen[scheme] == 1 else f"{scheme}-{seen[scheme]}", url))
    return channels


@lru_cache(maxsize=1)
def _apprise() -> ModuleType:
    """Load apprise, with SNS topics as one of its services. It takes a second, so only sending loads it."""
    import apprise
    import apprise.decorators

    apprise.decorators.notify(on=SNS_SCHEME, name="Amazon SNS topic")(_publish)  # type: ignore[no-untyped-call]  # apprise leaves it untyped
    return apprise


def _publish(body: str, title: str, *_: object, meta: dict[str, Any], **__: object) -> bool:
    """Publish to the topic in a URL such as snstopic://arn:aws:sns:eu-west-1:123456789012:m5-alerts.

    apprise's own sns:// needs an access key in the URL; this uses the process's AWS role.
    """
    arn = meta["url"].removeprefix(f"{SNS_SCHEME}://")
    subject = title.encode("ascii", "replace").decode()  # SNS refuses other subjects
    try:
        boto3.client("sns", region_name=arn.split(":")[3]).publish(TopicArn=arn, Subject=subject, Message=body)
    except (BotoCoreError, ClientError) as problem:
        _apprise_log.warning("SNS: %s", problem)
        return False
    return True


def _schemes(found: str | Sequence[str] | None) -> tuple[str, ...]:
    return (found,) if isinstance(found, str) else tuple(found or ())


def _masked(text: str, url: SecretStr) -> str:
    """Return the text with every part of the URL behind its scheme replaced, for any part may be a token."""
    known = url.get_secret_value().partition("://")[2]
    parts = {part for part in re.split(r"[^\w.+-]+", f"{known} {unquote(known)}") if len(part) >= _SHORTEST_SECRET}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text
