"""The ways to send a message: log, e-mail (SMTP), Amazon SNS, a webhook. Not here: who has been told of what."""

from __future__ import annotations

import http.client
import json
import logging
import smtplib
import ssl
import urllib.request
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from typing import Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from m5_assets.alerts.incidents import Message
from m5_assets.settings import AlertSettings

log = logging.getLogger("m5.alerts")

DELIVERY_ERRORS = (OSError, http.client.HTTPException, BotoCoreError, ClientError)
"""What a channel raises when the other side cannot be reached or refuses (SMTP's errors are OSErrors)."""

_TIMEOUT_SECONDS = 15.0


class Channel(Protocol):
    """A way to send."""

    @property
    def name(self) -> str:
        """Names it in the notifier's state."""

    def send(self, message: Message) -> None:
        """Send, or raise one of `DELIVERY_ERRORS`."""


@dataclass(frozen=True)
class LogChannel:
    """The log of the process that looks for incidents."""

    name: str = "log"

    def send(self, message: Message) -> None:
        """Write the message as one record."""
        log.log(logging.ERROR if message.begun else logging.INFO, "%s\n%s", message.subject, message.body)


@dataclass(frozen=True)
class EmailChannel:
    """E-mail by SMTP, encrypted by STARTTLS or TLS unless the settings say `none`."""

    settings: AlertSettings
    name: str = "email"

    def send(self, message: Message) -> None:
        """Hand the message to the mail server."""
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = message.subject, self.settings.email_from, self.settings.email_to
        mail.set_content(message.body)
        with self._connected() as server:
            if self.settings.smtp_user:
                server.login(self.settings.smtp_user, self.settings.smtp_password.get_secret_value())
            server.send_message(mail)

    def _connected(self) -> smtplib.SMTP:
        host, port = self.settings.smtp_host, self.settings.smtp_port
        trust = ssl.create_default_context(cafile=self.settings.smtp_ca_file or None)
        if self.settings.smtp_security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=trust)
        server = smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)
        if self.settings.smtp_security == "starttls":
            try:
                server.starttls(context=trust)
            except BaseException:
                server.close()
                raise
        return server


@dataclass(frozen=True)
class SnsChannel:
    """A topic of Amazon SNS; its region is in its ARN."""

    topic_arn: str
    name: str = "sns"

    def send(self, message: Message) -> None:
        """Publish the message."""
        client = boto3.client("sns", region_name=self.topic_arn.split(":")[3])
        # SNS refuses a subject that is not ASCII.
        subject = message.subject.encode("ascii", "replace").decode()
        client.publish(TopicArn=self.topic_arn, Subject=subject, Message=message.body)


@dataclass(frozen=True)
class WebhookChannel:
    """A POST of JSON: `text` for chat programs, `begun` and `over` for other ones."""

    url: str
    name: str = "webhook"

    def send(self, message: Message) -> None:
        """Post the message; an answer other than 2xx is an error."""
        content = {
            "text": f"{message.subject}\n{message.body}",
            "begun": [asdict(incident) for incident in message.begun],
            "over": [asdict(incident) for incident in message.over],
        }
        request = urllib.request.Request(  # noqa: S310  # the settings admit https:// and loopback alone
            self.url, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310  # as above
            answer.read()

    def __repr__(self) -> str:
        return "WebhookChannel()"  # the address is a secret


def channels_of(settings: AlertSettings) -> list[Channel]:
    """Return the channels that are set; the log always is one."""
    channels: list[Channel] = [LogChannel()]
    if settings.smtp_host:
        channels.append(EmailChannel(settings))
    if settings.sns_topic_arn:
        channels.append(SnsChannel(settings.sns_topic_arn))
    if url := settings.webhook_url.get_secret_value():
        channels.append(WebhookChannel(url))
    return channels
