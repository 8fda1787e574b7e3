"""How long housekeeping keeps files and runs."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RetentionFields(BaseModel):
    """How long housekeeping keeps files and runs."""

    features_weeks: int = Field(8, ge=1, le=5_200, description="newest weeks to keep features of")
    predictions_weeks: int = Field(104, ge=57, le=5_200, description="newest weeks to keep the models' predictions of")
    runs_days: int = Field(730, ge=30, le=36_500, description="days to keep Dagster's runs and their events")
    files_hours: int = Field(48, ge=1, le=8_760, description="hours to keep files that belong to no week")


class RetentionSettings(RetentionFields, BaseSettings):
    """How long housekeeping keeps files and runs: `M5_RETENTION_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_RETENTION_", extra="ignore")
