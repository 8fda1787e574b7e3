"""Fixtures: Dagster's webserver with a small code location, once as Dagster serves it and once behind the guard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster_webserver.app import create_app_from_workspace_process_context

from m5_assets.dagster_internals import WorkspaceFileTarget, WorkspaceProcessContext
from m5_assets.web.dagster_ui import guarded
from m5_assets.web.hosts import LOOPBACK
from m5_assets_tests.dashboard.conftest import browser as browser
from m5_assets_tests.dashboard.conftest import downloads as downloads
from m5_assets_tests.support.dashboard_pages import served

_INSTANCE = """
telemetry: {enabled: false}
nux: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""
_CODE = """
import dagster as dg

@dg.asset
def built(context: dg.AssetExecutionContext) -> None:
    context.log.info("said while it was built")
    print("printed while it was built")

defs = dg.Definitions([built], jobs=[dg.define_asset_job("everything", "*")], executor=dg.in_process_executor)
"""


@dataclass(frozen=True)
class Site:
    """One Dagster instance, served twice."""

    instance: dg.DagsterInstance
    plain: str
    guarded: str


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text(_INSTANCE)
    (home / "code.py").write_text(_CODE)
    workspace = _workspace(home)
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(
            instance, WorkspaceFileTarget(paths=[str(workspace)]), version=dg.__version__
        ) as context,
        served(create_app_from_workspace_process_context(context)) as plain,
        served(guarded(context, LOOPBACK)) as behind_the_guard,
    ):
        yield Site(instance, plain, behind_the_guard)


def _workspace(home: Path) -> Path:
    workspace = home / "workspace.yaml"
    workspace.write_text(f"load_from: [{{python_file: {{relative_path: {home / 'code.py'}, location_name: shop}}}}]")
    return workspace
