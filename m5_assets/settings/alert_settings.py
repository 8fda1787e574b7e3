"""Where alerts are sent."""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_REMOVED = (
    "EMAIL_TO",
    "EMAIL_FROM",
    "SMTP_HOST",
    "SMTP_PORT",
    "SMTP_SECURITY",
    "SMTP_CA_FILE",
    "SMTP_USER",
    "SMTP_PASSWORD",
    "SNS_TOPIC_ARN",
    "WEBHOOK_URL",
)


class AlertSettings(BaseSettings):
    """Where alerts are sent: `M5_ALERTS_*`. Every URL is used, and the log always."""

    model_config = SettingsConfigDict(env_prefix="M5_ALERTS_", extra="ignore")

    urls: tuple[SecretStr, ...] = Field((), description="JSON list of apprise URLs; may hold passwords")
    ui_url: str = Field("http://127.0.0.1:3000", description="address of Dagster's UI, for the links in messages")

    @field_validator("urls")
    @classmethod
    def _have_a_scheme(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for place, url in enumerate(urls, start=1):
            scheme, separator, rest = url.get_secret_value().partition("://")
            if not (scheme.isalnum() and separator and rest):
                raise ValueError(
                    f"item {place} is not a URL like mailtos://user:password@example.org?to=ops@example.org"
                )
        return urls

    @model_validator(mode="after")
    def _no_removed_variables(self) -> Self:
        # Ignoring these would lose alerts without a word: they were the settings of each channel before URLS.
        found = [f"M5_ALERTS_{name}" for name in _REMOVED if os.environ.get(f"M5_ALERTS_{name}")]
        if found:
            raise ValueError(f"{', '.join(found)}: list all channels in M5_ALERTS_URLS instead, see docs/operations.md")
        return self
