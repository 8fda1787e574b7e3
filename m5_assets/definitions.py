"""The code location, composed from the other modules; tests and the command line can replace resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from m5_assets import asset_groups
from m5_assets.assets import accuracy, ensemble, ensemble_weights, features, landing, models, predictions, rds
from m5_assets.assets.columns import column_schemas
from m5_assets.automation.jobs import JOBS
from m5_assets.automation.schedules import SCHEDULES
from m5_assets.automation.sensors import SENSORS
from m5_assets.checks import STAGES as CHECKED_STAGES
from m5_assets.extras.quicksight import refresh
from m5_assets.extras.quicksight.quicksight_api import QuickSight
from m5_assets.private_folder import private_folder
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.limits import CheckLimits, Retention
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import Settings, settings

OWNERS = ["team:demand-forecasting"]

STAGES = (landing, features, models, predictions, ensemble_weights, ensemble, accuracy, rds, refresh)

STEP_MODULES = ["m5_assets.definitions", "dagster_postgres", "upath.core"]
"""What the server imports that steps are forked from: the code, and what opening a Dagster instance imports.

The shortest steps then take 0.6 s of CPU; with the code alone they take 1.1 s, with neither 4 s.
"""

CODE = {
    key.to_user_string(): stage.__name__
    for stage in STAGES
    for assets in dg.load_assets_from_modules([stage])
    if isinstance(assets, dg.AssetsDefinition)
    for key in assets.keys
}
"""The module that defines each asset."""
COLUMNS = column_schemas()
_DOCS = {
    asset_groups.LANDING: "docs/data.md",
    asset_groups.FEATURES: "docs/features.md",
    asset_groups.PREDICTIONS: "docs/sagemaker.md",
    asset_groups.ACCURACY: "docs/accuracy.md",
    asset_groups.RDS: "docs/database.md",
    asset_groups.DASHBOARDS: "docs/quicksight.md",
}


def resources(source: Settings) -> dict[str, Any]:
    """Return the resources for these settings, by name."""
    private_folder(source.home)
    lake = Lake(root=source.lake)
    return {
        "landing": LandingFolder.of(source),
        "lake": lake,
        "policy": ForecastPolicy.of(source),
        "limits": CheckLimits.of(source.checks),
        "retention": Retention.of(source.retention),
        "sagemaker": SageMakerJobs(home=str(source.home), lake=lake, job_settings=source.sagemaker),
        "postgres": PostgresResource.from_environment(source),
        "quicksight": QuickSight.of(source.quicksight),
    }


def _described(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return an asset's specification with its owners, the meaning of its columns and where its code is."""
    name = spec.key.to_user_string()
    docs = _DOCS.get(spec.group_name or "", "docs/architecture.md")
    added: dict[str, Any] = {"code": f"{CODE[name].replace('.', '/')}.py", "docs": docs}
    if name in COLUMNS:
        added["dagster/column_schema"] = COLUMNS[name]
    return spec.replace_attributes(owners=OWNERS, metadata={**spec.metadata, **added})


def build_defs(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the code location.

    Args:
        overrides: resources that replace the default ones, by name.
    """
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules(CHECKED_STAGES),
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={**resources(settings()), **(overrides or {})},
        # Steps mostly wait for jobs; running two at once lets transforms run in parallel.
        executor=dg.multiprocess_executor.configured(
            {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": STEP_MODULES}}}
        ),
    ).map_asset_specs(func=_described)


defs = build_defs()
