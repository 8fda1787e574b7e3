"""How forecasts are computed: length of the history, age of the models, default weights of the ensemble."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import Field

from m5_assets.forecasting.ensemble import Weights
from m5_assets.model_specs import MEMBER_NAMES
from m5_assets.settings import Settings


class ForecastPolicy(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The settings that affect a week's numbers, as a resource."""

    history_weeks: int = Field(description="weeks of daily sales used by features and models")
    min_history_weeks: int = Field(description="weeks of sales a week needs before it can be forecast")
    cadence_weeks: int = Field(description="age in weeks at which a model is retrained")
    closed_days: str = Field(description="yearly dates on which stores close, beyond what their sales show")
    open_days: str = Field(description="yearly dates on which stores open, against what their sales show")
    shares: dict[str, float] = Field(description="default shares of all members except the first, by member")
    alignment: float = Field(description="default strength of the alignment to the totals")

    @classmethod
    def of(cls, source: Settings) -> Self:
        """Return the policy that these settings describe."""
        return cls(
            history_weeks=source.history_weeks,
            min_history_weeks=source.min_history_weeks,
            cadence_weeks=source.cadence_weeks,
            closed_days=source.closed_days,
            open_days=source.open_days,
            shares={name: source.share(name) for name in MEMBER_NAMES[1:]},
            alignment=source.alignment,
        )

    @property
    def prior(self) -> Weights:
        """The ensemble's default weights until enough past weeks are scored."""
        return Weights.of(MEMBER_NAMES, self.shares, self.alignment)
