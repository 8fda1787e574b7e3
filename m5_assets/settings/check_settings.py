"""The limits of the asset checks."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CheckLimitFields(BaseModel):
    """What the asset checks let pass."""

    missing_series: float = Field(0.01, ge=0, le=1, description="share of the live series that a week may lack")
    volume_band: float = Field(0.4, gt=0, description="a week's units may differ from the usual by this share")
    zero_share_band: float = Field(0.1, gt=0, le=1, description="its share of days without a sale, by this much")
    forecast_band: float = Field(0.4, gt=0, description="the forecast's units a day against the last four weeks'")
    accuracy_weeks: int = Field(8, ge=1, description="matured weeks over which the ensemble is compared")
    ensemble_tolerance: float = Field(0.02, ge=0, description="by this share it may be worse than its best member")
    model_age_weeks: int = Field(8, ge=1, description="a model in force may be this old")
    landing_hours: int = Field(24, ge=0, description="hours after a week's end by which its sales are due")


class CheckSettings(CheckLimitFields, BaseSettings):
    """What the asset checks let pass: `M5_CHECKS_*`."""

    model_config = SettingsConfigDict(env_prefix="M5_CHECKS_", extra="ignore")
