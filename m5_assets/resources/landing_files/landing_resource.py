"""The landing folder as a Dagster resource."""

from __future__ import annotations

import dagster as dg

from m5_assets.resources.landing_files import Landing


class LandingFolder(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """The folder or `s3://bucket/prefix` URI where M5's files arrive."""

    root: str

    def open(self) -> Landing:
        """Return the folder's reader."""
        return Landing(self.root)
