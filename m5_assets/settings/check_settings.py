"""The limits of the asset checks."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CheckLimitFields(BaseModel):
    """Limits of the asset checks."""

    missing_series: float = Field(
        0.01, ge=0, le=1, description="largest share of live series that may be missing from a week"
    )
    volume_band: float = Field(
        0.4, gt=0, description="largest relative difference between a week's units and the usual"
    )
    zero_share_band: float = Field(
        0.1, gt=0, le=1, description="largest difference between a week's share of zero sales and the usual"
    )
    forecast_band: float = Field(
        0.4, gt=0, description="largest relative difference between forecast units per day and the last four weeks"
    )
    accuracy_weeks: int = Field(
        8, ge=1, description="newest scored weeks over which the ensemble is compared with its members"
    )
    ensemble_tolerance: float = Field(
        0.02, ge=0, description="how much worse than its best member the ensemble may be, as a share"
    )
    model_age_weeks: int = Field(8, ge=1, description="greatest age of a model in force, in weeks")
    landing_hours: int = Field(24, ge=0, description="hours after the end of a week until its sales are overdue")


class CheckSettings(CheckLimitFields, BaseSettings):
    """Limits of the asset checks: `M5_CHECKS_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_CHECKS_", extra="ignore")
