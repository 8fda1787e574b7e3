"""The checks' limits and the retention of housekeeping, as resources."""

from __future__ import annotations

import dagster as dg

from m5_assets.settings import CheckLimitFields, CheckSettings, RetentionFields, RetentionSettings


class CheckLimits(dg.ConfigurableResource, CheckLimitFields):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The limits of the asset checks."""

    @classmethod
    def of(cls, source: CheckSettings) -> CheckLimits:
        """Return the limits that these settings describe."""
        return cls(**source.model_dump())


class Retention(dg.ConfigurableResource, RetentionFields):  # type: ignore[type-arg]  # as above
    """What housekeeping keeps."""

    @classmethod
    def of(cls, source: RetentionSettings) -> Retention:
        """Return the retention that these settings describe."""
        return cls(**source.model_dump())
