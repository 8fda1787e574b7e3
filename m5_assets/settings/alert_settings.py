"""Where alerts are sent."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class AlertSettings(BaseSettings):
    """Who is told of an incident, and how: `M5_ALERTS_*`. Every channel that is set is used; the log always is."""

    model_config = SettingsConfigDict(env_prefix="M5_ALERTS_", extra="ignore")

    email_to: str = Field("", description="addresses, joined by commas; needs M5_ALERTS_SMTP_HOST")
    email_from: str = Field("m5@localhost", description="the sender's address")
    smtp_host: str = Field("", description="mail server; empty: no e-mail")
    smtp_port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for tls, as a rule")
    smtp_security: Literal["starttls", "tls", "none"] = Field("starttls", description="none: on a trusted network only")
    smtp_ca_file: str = Field("", description="certificates to trust; empty: the system's")
    smtp_user: str = Field("", description="empty: no login")
    smtp_password: SecretStr = Field(SecretStr(""), description="the login's password")
    sns_topic_arn: str = Field("", description="SNS topic; empty: no SNS")
    webhook_url: SecretStr = Field(
        SecretStr(""), description="https:// address that is sent a JSON text; holds a secret"
    )
    ui_url: str = Field("http://127.0.0.1:3000", description="where a reader of the message finds Dagster's UI")

    @model_validator(mode="after")
    def _whole_channels(self) -> Self:
        if bool(self.email_to) != bool(self.smtp_host):
            raise ValueError("M5_ALERTS_EMAIL_TO and M5_ALERTS_SMTP_HOST belong together: set both or neither")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError("M5_ALERTS_SMTP_USER with M5_ALERTS_SMTP_SECURITY=none would send a password in the clear")
        if self.webhook_url.get_secret_value() and not self.webhook_url.get_secret_value().startswith(
            ("https://", "http://127.0.0.1", "http://localhost")
        ):
            raise ValueError("M5_ALERTS_WEBHOOK_URL must begin with https:// (http:// only on this machine)")
        return self
