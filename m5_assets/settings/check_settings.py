"""The limits of the asset checks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_PREFIX = "M5_CHECKS_"


@dataclass(frozen=True)
class Limit:
    """A limit of a check, with the environment variable that sets it.

    Attributes:
        variable: the environment variable.
        value: the limit in force.
    """

    variable: str
    value: float

    def __str__(self) -> str:
        """Return the setting as a finding shows it."""
        return f"{self.variable}={self.value:g}"

    def remedy(self, needed: float) -> str:
        """Return what to do if a figure beyond the limit is true: the setting, rounded up, with which it passes."""
        enough = f"{math.ceil(needed)}" if needed >= 10 else f"{math.ceil(needed * 100) / 100:g}"
        return f"if that is true, set {self.variable}={enough} or more"


class CheckLimitFields(BaseModel):
    """Limits of the asset checks."""

    missing_series: float = Field(
        0.01, ge=0, le=1, description="largest share of live series that may be missing from a week"
    )
    left_series: float = Field(
        0.5,
        ge=0,
        le=1,
        description="largest share of live series that may leave in a week with whole stores, departments or items",
    )
    unpriced_series: float = Field(
        0.01, ge=0, le=1, description="largest share of series sold lately that may have no row in sell_prices.csv"
    )
    units_factor: float = Field(
        20,
        gt=1,
        description="largest units of one series and day, as a multiple of the median largest in weeks with sales",
    )
    units_floor: float = Field(
        100, ge=0, description="units of one series and day that always pass, however little is usual"
    )
    price_factor: float = Field(
        10_000, gt=1, description="largest price as a multiple of the median price, and smallest as its fraction"
    )
    volume_band: float = Field(
        0.4, gt=0, description="largest relative difference between a week's units and the usual"
    )
    zero_share_band: float = Field(
        0.1, gt=0, le=1, description="largest difference between a week's share of zero sales and the usual"
    )
    forecast_band: float = Field(
        0.4,
        gt=0,
        description="largest relative difference between forecast units per day and the last four weeks with sales; "
        "for a single store twice this",
    )
    forecast_floor: float = Field(
        1, ge=0, description="units per day by which a forecast may differ from the usual, however little that is"
    )
    missing_features: float = Field(
        0.5, ge=0, le=1, description="largest share of rows without a value in features that need little history"
    )
    accuracy_weeks: int = Field(
        8, ge=1, le=520, description="newest scored weeks over which the ensemble is compared with its members"
    )
    ensemble_tolerance: float = Field(
        0.02, ge=0, description="how much worse than its best member the ensemble may be, as a share"
    )
    model_age_weeks: int = Field(8, ge=1, le=5_200, description="greatest age of a model in force, in weeks")
    landing_hours: int = Field(
        24, ge=0, le=8_760, description="hours after the end of a week until its sales are overdue"
    )

    def limit(self, field: str) -> Limit:
        """Return a limit with the name of its environment variable."""
        return Limit(f"{_PREFIX}{field}".upper(), getattr(self, field))


class CheckSettings(CheckLimitFields, BaseSettings):
    """Limits of the asset checks: `M5_CHECKS_*`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore")
