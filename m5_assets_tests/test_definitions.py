from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from m5_assets.asset_groups import GROUPS
from m5_assets.cli.features import as_json
from m5_assets.definitions import defs

REPOSITORY = Path(__file__).parents[1]
LINEAGE = Path(__file__).parent / "support" / "lineage.json"


def test_the_code_location_is_valid() -> None:
    dg.Definitions.validate_loadable(defs)


def test_lineage_jobs_and_schedules_change_only_on_purpose() -> None:
    """If lineage has changed on purpose, commit the new lineage.json."""
    graph = defs.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "group": graph.get(key).group_name,
            "needs": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "partitioned": graph.get(key).partitions_def is not None,
        }
        for key in sorted(graph.get_all_asset_keys())
    }
    jobs = {
        name: sorted(key.to_user_string() for key in defs.resolve_job_def(name).asset_layer.executable_asset_keys)
        for name in ("weekly_forecast", "back_history", "feature_weeks", "accuracy")
    }
    schedules = {s.name: s.cron_schedule for s in defs.get_repository_def().schedule_defs}
    found = json.dumps({"assets": assets, "jobs": jobs, "schedules": schedules}, indent=1, sort_keys=True) + "\n"
    if not LINEAGE.exists():
        LINEAGE.write_text(found)
        pytest.fail(f"{LINEAGE.name} was missing and has been written: read and commit it")
    assert found == LINEAGE.read_text()


def test_a_backfill_in_the_ui_runs_loads_and_features_at_once_and_forecasts_week_by_week_in_order() -> None:
    weeks_a_run = {
        name: defs.resolve_job_def(name).backfill_policy.max_partitions_per_run
        for name in ("weekly_forecast", "back_history", "feature_weeks", "accuracy")
    }
    assert weeks_a_run == {"weekly_forecast": 1, "back_history": None, "feature_weeks": None, "accuracy": 1}


@pytest.mark.parametrize("folder", ["", "docker", "infrastructure"])
def test_the_runs_of_a_backfill_and_the_weekly_runs_are_one_at_a_time_everywhere(folder: str) -> None:
    text = (Path(__file__).parents[1] / folder / "dagster.yaml").read_text()
    limits = {each.pop("key"): each for each in yaml.safe_load(text)["concurrency"]["runs"]["tag_concurrency_limits"]}
    assert limits == {
        "m5/order": {"limit": 1},
        "dagster/backfill": {"limit": 1, "value": {"applyLimitPerUniqueValue": True}},
    }
    assert "m5/order" in defs.resolve_job_def("weekly_forecast").tags


def test_no_edge_joins_other_weeks_or_a_backfill_of_one_week_would_grow() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert key not in graph.get(key).parent_keys
        assert not graph.get(key).partition_mappings, key


def test_every_asset_is_described_owned_and_grouped() -> None:
    for key in defs.resolve_asset_graph().get_all_asset_keys():
        node = defs.resolve_asset_graph().get(key)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
        assert node.group_name != "default", key


LOADING = """
import importlib, json, sys
import m5_assets.definitions

loaded = set(sys.modules)
for name in m5_assets.definitions.STEP_MODULES:
    importlib.import_module(name)
with_step_modules = set(sys.modules)
import dagster as dg
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    instance.get_runs(limit=1)
print(json.dumps([sorted(loaded), sorted(set(sys.modules) - with_step_modules)]))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Return the modules that loading imports, and those that opening an instance adds to `STEP_MODULES`."""
    folder = tmp_path_factory.mktemp("instance")
    (folder / "dagster.yaml").symlink_to(Path(__file__).parents[1] / "dagster.yaml")
    command = [sys.executable, "-c", LOADING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, of_instance = json.loads(done.stdout)
    return set(loaded), set(of_instance)


def test_every_table_has_columns_that_are_described_and_every_asset_says_where_its_code_is() -> None:
    without = set()
    for key in defs.resolve_asset_graph().get_all_asset_keys():
        node = defs.resolve_asset_graph().get(key)
        assert (REPOSITORY / node.metadata["code"]).is_file()
        assert (REPOSITORY / node.metadata["docs"]).is_file()
        if found := node.metadata.get("dagster/column_schema"):
            assert all(column.description for column in found.columns), key
        else:
            without.add(key.to_user_string())
    assert without == {"gbm_model", "lstm_model", "totals_model", "quicksight_refresh"}


def test_the_schema_of_the_features_is_their_catalogue() -> None:
    """If it has changed, run `make docs`."""
    copied = REPOSITORY / "m5_assets" / "assets" / "feature_catalogue.json"
    assert copied.read_text(encoding="utf-8") == as_json() + "\n"


def test_no_two_nodes_of_the_graph_have_the_same_name() -> None:
    names = [key.path[-1] for key in defs.resolve_asset_graph().get_all_asset_keys()]
    assert len(names) == len(set(names))


def test_the_groups_are_those_that_the_address_of_the_graph_opens() -> None:
    graph = defs.resolve_asset_graph()
    assert {graph.get(key).group_name for key in graph.get_all_asset_keys()} == set(GROUPS)
    assert list(GROUPS) == sorted(GROUPS)


def test_loading_it_imports_nothing_that_is_only_needed_by_runs(imported: tuple[set[str], set[str]]) -> None:
    assert not {"torch", "lightgbm", "numba", "alembic", "matplotlib", "jinja2", "dagster_aws"} & imported[0]


def test_a_step_finds_what_opening_the_instance_imports(imported: tuple[set[str], set[str]]) -> None:
    assert not {"sqlalchemy", "alembic", "fsspec", "structlog", "rich"} & imported[1]
    assert len(imported[1]) < 50  # of 350
