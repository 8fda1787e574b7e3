"""How forecasts are made: how much history they see, how long a model serves, how models are combined at first."""

from __future__ import annotations

from typing import Self

import dagster as dg
from pydantic import Field

from m5_assets.forecasting.ensemble import Weights
from m5_assets.model_specs import MEMBER_NAMES
from m5_assets.settings import Settings


class ForecastPolicy(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The settings that a week's numbers depend on, as a resource of the assets that need them."""

    history_weeks: int = Field(description="weeks of daily sales that features and models see")
    min_history_weeks: int = Field(description="a week with fewer weeks of sales behind it is not forecast")
    cadence_weeks: int = Field(description="a model this old is trained again")
    shares: dict[str, float] = Field(description="prior shares of all members but the first, by member")
    alignment: float = Field(description="prior strength of the alignment to the totals")

    @classmethod
    def of(cls, source: Settings) -> Self:
        """Return the policy that these settings describe."""
        return cls(
            history_weeks=source.history_weeks,
            min_history_weeks=source.min_history_weeks,
            cadence_weeks=source.cadence_weeks,
            shares={name: source.share(name) for name in MEMBER_NAMES[1:]},
            alignment=source.alignment,
        )

    @property
    def prior(self) -> Weights:
        """The ensemble's weights until enough past weeks are scored."""
        return Weights.of(MEMBER_NAMES, self.shares, self.alignment)
