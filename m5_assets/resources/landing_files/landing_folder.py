"""The landing folder as a Dagster resource. Not here: how its files are read (the package's `Landing`)."""

from __future__ import annotations

import dagster as dg

from m5_assets.resources.landing_files import Landing


class LandingFolder(dg.ConfigurableResource):  # type: ignore[type-arg]  # dagster's generic has no useful argument here
    """Where M5's CSV files arrive: a folder or an `s3://bucket/prefix` URI."""

    root: str

    def open(self) -> Landing:
        """Return the folder's reader."""
        return Landing(self.root)
