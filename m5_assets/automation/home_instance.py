"""Dagster's instance in M5_HOME, also for `dagster` and `dg` without DAGSTER_HOME.

Without it they read the clone's dagster.yaml, but keep runs and schedules in a temporary folder. dagster.yaml names
`HomeInstance`, which puts the folder of `m5 ui` in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from m5_assets.clone import CLONE
from m5_assets.dagster_internals import TMP_DAGSTER_HOME_PREFIX, InstanceRef
from m5_assets.private_folder import private_folder
from m5_assets.settings import settings

_CONFIG = "dagster.yaml"


class HomeInstance(dg.DagsterInstance):
    """The usual instance, with `home_folder` instead of a temporary folder."""

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """Return the configuration it has in dagster.yaml: none."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, Any]:
        """Return Dagster's default storages, in DAGSTER_HOME or `home_folder`."""
        if Path(base_dir).name.startswith(TMP_DAGSTER_HOME_PREFIX):
            base_dir = str(home_folder())
            logging.getLogger("dagster").info(
                f"The temporary directory stays empty: this project keeps its runs in {base_dir}, as `m5 ui` does."
            )
        return InstanceRef.config_defaults(base_dir)


def home_folder() -> Path:
    """Return the folder of Dagster's instance in M5_HOME, created if needed."""
    folder = settings().home / "dagster"
    private_folder(settings().home)
    private_folder(folder)
    link_configuration(folder)
    return folder


def link_configuration(folder: Path) -> None:
    """Link the clone's dagster.yaml into a folder that has none, or whose link leads nowhere: the clone has moved."""
    config, link = CLONE / _CONFIG, folder / _CONFIG
    if config.exists() and not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(config)
