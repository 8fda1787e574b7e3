"""Where the QuickSight dashboard is published and refreshed."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class QuickSightSettings(BaseSettings):
    """Where the QuickSight dashboard is published, and who sees it: `M5_QUICKSIGHT_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_QUICKSIGHT_", extra="ignore")

    refresh: bool = Field(False, description="refresh the dashboard after each load; needs M5_QUICKSIGHT_ACCOUNT_ID")
    account_id: str = Field("", pattern=r"^(\d{12})?$", description="AWS account of QuickSight, 12 digits")
    region: str = Field("us-east-1", description="AWS region of the QuickSight data sets")
    prefix: str = Field(
        "m5",
        pattern=r"^m5[\w-]{0,40}$",
        description="prefix of all ids, so that one account can hold m5-dev and m5-prod",
    )
    owners: tuple[str, ...] = Field((), description="JSON list; ARNs of QuickSight users or groups who may edit")
    readers: tuple[str, ...] = Field(
        (), description="JSON list; ARNs of QuickSight users or groups who may view the dashboard"
    )
    secret_arn: str = Field("", description="Secrets Manager secret with the database's username and password")
    vpc_connection_arn: str = Field("", description="QuickSight's VPC connection; empty: public internet")
    database_host: str = Field("", description="PostgreSQL host, as QuickSight reaches it")
    database_port: int = Field(5432, ge=1, le=65535, description="PostgreSQL port")
    database_name: str = Field("m5", description="PostgreSQL database")
    poll_seconds: float = Field(5.0, gt=0, le=3_600, description="seconds between status requests")
    timeout_minutes: float = Field(
        60.0, gt=0, le=10_080, description="longest wait for one operation, or while QuickSight throttles"
    )

    @model_validator(mode="after")
    def _refresh_has_an_account(self) -> Self:
        if self.refresh and not self.account_id:
            raise ValueError("M5_QUICKSIGHT_REFRESH needs M5_QUICKSIGHT_ACCOUNT_ID")
        return self
