"""How long housekeeping keeps files and runs."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RetentionFields(BaseModel):
    """What housekeeping keeps."""

    features_weeks: int = Field(8, ge=1, description="newest weeks whose features are kept")
    predictions_weeks: int = Field(104, ge=57, description="newest weeks whose models' predictions are kept")
    runs_days: int = Field(730, ge=30, description="Dagster's runs and their events; younger ones are kept")
    files_hours: int = Field(48, ge=1, description="files that no week names are removed once they are this old")


class RetentionSettings(RetentionFields, BaseSettings):
    """What housekeeping keeps: `M5_RETENTION_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_RETENTION_", extra="ignore")
