"""The Dagster instance that commands work with: its folder, its configuration, its pool limits."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from m5_assets.automation.home_instance import home_folder, link_configuration
from m5_assets.private_folder import private_folder
from m5_assets.resources.sagemaker_jobs import HEAVY
from m5_assets.settings import settings


def dagster_home() -> Path:
    """Return $DAGSTER_HOME, created if needed.

    The default is a folder in M5_HOME, with a link to the project's dagster.yaml.
    """
    if "DAGSTER_HOME" not in os.environ:
        os.environ["DAGSTER_HOME"] = str(home_folder())
    home = Path(os.environ["DAGSTER_HOME"])
    private_folder(home)
    link_configuration(home)
    return home


def prepare_instance() -> None:
    """Prepare the instance for a daemon: folder, configuration, pool limits."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        _set_pool_limits(instance)


def _set_pool_limits(instance: dg.DagsterInstance) -> None:
    # Dagster keeps the limits of pools in its database; dagster.yaml can only give all pools the same one.
    storage = instance.event_log_storage
    if storage.get_concurrency_info(HEAVY).slot_count != settings().heavy_jobs:
        storage.set_concurrency_slots(HEAVY, settings().heavy_jobs)
