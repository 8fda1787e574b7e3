"""Where the QuickSight dashboard is published and refreshed."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class QuickSightSettings(BaseSettings):
    """Where the QuickSight dashboard is, and who sees it: `M5_QUICKSIGHT_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_QUICKSIGHT_", extra="ignore")

    refresh: bool = Field(False, description="whether quicksight_refresh refreshes; needs M5_QUICKSIGHT_ACCOUNT_ID")
    account_id: str = Field("", pattern=r"^(\d{12})?$", description="AWS account of QuickSight, twelve digits")
    region: str = Field("us-east-1", description="AWS region of QuickSight's data")
    prefix: str = Field(
        "m5", pattern=r"^m5[\w-]{0,40}$", description="begins every id; m5-dev and m5-prod in one account"
    )
    owners: tuple[str, ...] = Field((), description="JSON list; ARNs of QuickSight users or groups who may change all")
    readers: tuple[str, ...] = Field((), description="JSON list; ARNs of those who may look at the dashboard")
    secret_arn: str = Field("", description="Secrets Manager secret with the database's username and password")
    vpc_connection_arn: str = Field("", description="QuickSight's VPC connection; empty: over the internet")
    database_host: str = Field("", description="PostgreSQL's host, as QuickSight reaches it")
    database_port: int = Field(5432, ge=1, le=65535, description="its port")
    database_name: str = Field("m5", description="its database")
    poll_seconds: float = Field(5.0, gt=0, description="between two looks at something in progress")
    timeout_minutes: float = Field(60.0, gt=0, description="longest wait for one thing, or for a throttled service")

    @model_validator(mode="after")
    def _refresh_has_an_account(self) -> Self:
        if self.refresh and not self.account_id:
            raise ValueError("M5_QUICKSIGHT_REFRESH is set: set M5_QUICKSIGHT_ACCOUNT_ID, too")
        return self
