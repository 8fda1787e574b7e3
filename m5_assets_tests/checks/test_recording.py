"""Tests of checks in real runs: recorded week by week, also for ranges, and stopping bad weeks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from m5_assets.assets.landing import raw_sales, store_dept_sales
from m5_assets.checks.landing import raw_sales_checks, store_dept_sales_checks
from m5_assets.dagster_internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from m5_assets.dagster_internals import AssetCheckExecutionRecordStatus as Status
from m5_assets.definitions import defs
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.limits import CheckLimits
from m5_assets.sample import write_sample
from m5_assets.weeks import Week, weeks_between

LAST = Week.parse("2016-05-16")
WEEKS_LANDED = 5


@pytest.fixture
def landed(tmp_path: Path) -> Path:
    write_sample(tmp_path / "landing", items=7, weeks=WEEKS_LANDED, seed=2)
    return tmp_path


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def _run(home: Path, instance: dg.DagsterInstance, **run: object) -> dg.ExecuteInProcessResult:
    resources = {
        "lake": Lake(root=str(home / "lake")),
        "landing": LandingFolder(root=str(home / "landing")),
        "limits": CheckLimits(),
    }
    assets = [raw_sales, store_dept_sales, raw_sales_checks, store_dept_sales_checks]
    return dg.materialize(assets, resources=resources, instance=instance, raise_on_error=False, **run)  # type: ignore[arg-type]


def _statuses(instance: dg.DagsterInstance, asset: str, check: str) -> dict[str | None, Status]:
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    infos = instance.event_log_storage.get_asset_check_partition_info([key])
    return {info.partition_key: info.latest_execution_status for info in infos}


def _spoil(home: Path, week: Week, units: int) -> None:
    """Set one product's sales on the week's first day."""
    calendar = pd.read_csv(home / "landing" / "calendar.csv", dtype=str)
    day = calendar.loc[calendar["date"] == week.key, "d"].iloc[0]
    path = home / "landing" / "sales_train_evaluation.csv"
    sales = pd.read_csv(path, dtype=str)
    sales.loc[3, day] = str(units)
    sales.to_csv(path, index=False)


def test_a_weeks_checks_are_recorded_with_its_partition(landed: Path, instance: dg.DagsterInstance) -> None:
    assert _run(landed, instance, partition_key=LAST.key).success
    assert _statuses(instance, "raw_sales", "complete") == {LAST.key: Status.SUCCEEDED}
    assert _statuses(instance, "store_dept_sales", "agrees_with_detail") == {LAST.key: Status.SUCCEEDED}


def test_a_range_is_recorded_week_by_week(landed: Path, instance: dg.DagsterInstance) -> None:
    first = LAST.shift(1 - WEEKS_LANDED)
    _spoil(landed, LAST.shift(-1), 100_000)
    tags = {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: LAST.key}
    assert not _run(landed, instance, tags=tags).success
    found = _statuses(instance, "raw_sales", "units_in_range")
    expected = {week.key: Status.SUCCEEDED for week in weeks_between(first, LAST)}
    # The week after the bad one fails too, because models would learn from it.
    expected |= {week.key: Status.FAILED for week in (LAST.shift(-1), LAST)}
    assert {week: found[week] for week in expected} == expected


def test_a_bad_week_stops_everything_downstream(landed: Path, instance: dg.DagsterInstance) -> None:
    assert _run(landed, instance, partition_key=LAST.shift(-1).key).success
    _spoil(landed, LAST, 100_000)
    done = _run(landed, instance, partition_key=LAST.key)
    assert not done.success
    made = [event.asset_key.to_user_string() for event in done.get_asset_materialization_events() if event.asset_key]
    assert made == ["raw_sales"]
    assert LAST.key not in Lake(root=str(landed / "lake")).partitions("store_dept_sales")


def test_every_asset_is_checked_and_bad_weeks_do_not_reach_the_dashboards() -> None:
    graph = defs.resolve_asset_graph()
    checked = {key.asset_key for key in graph.asset_check_keys}
    # QuickSight's refresh has no data of its own; it fails by itself if an ingestion fails or drops rows.
    assert {key.to_user_string() for key in graph.get_all_asset_keys() - checked} == {"quicksight_refresh"}
    for asset in (
        "raw_sales",
        "features",
        "gbm_predictions",
        "lstm_predictions",
        "totals_forecast",
        "ensemble_forecast",
    ):
        keys = graph.get_check_keys_for_assets({dg.AssetKey(asset)})
        assert any(graph.get(key).blocking for key in keys), asset
