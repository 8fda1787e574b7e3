"""Tests of what housekeeping deletes and what it must keep, in a real lake and a real instance."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from m5_assets.automation import housekeeping
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.settings import RetentionSettings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")
NOW = dt.datetime.now(dt.UTC)
KEEP = RetentionSettings(features_weeks=2, predictions_weeks=57, runs_days=30, files_hours=48)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def _publish(lake: Lake, dataset: str, week: Week, content: str = "") -> Manifest:
    with lake.staging() as staged:
        (staged / "data.parquet").write_text(f"{dataset} {week} {content}")
        return lake.publish(dataset, week.key, staged, inputs={}, attributes={})


def _age(lake: Lake, hours: float) -> None:
    at = time.time() - 3600 * hours
    for path in Path(lake.path("")).rglob("*"):
        os.utime(path, (at, at))


def _clean(lake: Lake, instance: dg.DagsterInstance, keep: RetentionSettings = KEEP) -> list[housekeeping.Removal]:
    removals = housekeeping.plan(lake, instance, keep, NOW)
    housekeeping.carry_out(removals, lake, instance)
    return removals


def _whole(lake: Lake, manifest: Manifest) -> bool:
    return all(Path(lake.path(file.key)).stat().st_size == file.bytes for file in manifest.files)


def test_old_features_are_deleted_except_those_of_the_forecast_in_force(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    for i in range(5):
        _publish(lake, "features", WEEK.shift(-i))
    _publish(lake, "ensemble_forecast", WEEK.shift(-3))  # the last forecast is three weeks old
    _clean(lake, instance)
    assert lake.partitions("features") == [WEEK.shift(-i).key for i in (3, 1, 0)]
    assert lake.partitions("ensemble_forecast") == [WEEK.shift(-3).key]
    assert not Path(lake.path(lake.folder("features", WEEK.shift(-4).key))).exists()


def test_predictions_are_kept_until_they_are_scored(lake: Lake, instance: dg.DagsterInstance) -> None:
    keep = RetentionSettings(predictions_weeks=57).model_copy(update={"predictions_weeks": 1})
    for i in range(4):
        for dataset in ("gbm_predictions", "totals_forecast", "ensemble_forecast"):
            _publish(lake, dataset, WEEK.shift(-i))
    for i in (2, 3):
        _publish(lake, "forecast_accuracy", WEEK.shift(-i))
    _clean(lake, instance, keep)
    for dataset in ("gbm_predictions", "totals_forecast"):
        assert lake.partitions(dataset) == [WEEK.shift(-1).key, WEEK.key]


def test_a_carried_forward_models_archive_is_kept_and_failed_attempts_are_deleted(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    trained = _publish(lake, "gbm_model", WEEK.shift(-3))
    for i in range(3):
        lake.commit(Manifest("gbm_model", WEEK.shift(-i).key, trained.files))
    Path(
        lake.path(lake.folder("gbm_model", WEEK.shift(-3).key)), "manifest.json"
    ).unlink()  # only the weeks that carry it forward refer to it now
    attempt = Path(lake.path("gbm_model/week=2016-05-16/gbm-model-a1/output/model.tar.gz"))
    attempt.parent.mkdir(parents=True)
    attempt.write_text("half a model")
    assert _clean(lake, instance) == []  # too recent: a job may still be writing it
    _age(lake, 49)
    assert [removal.name for removal in _clean(lake, instance)] == [
        "gbm_model/week=2016-05-16/gbm-model-a1/output/model.tar.gz"
    ]
    assert _whole(lake, trained)
    assert not attempt.parents[1].exists()


def test_leftovers_of_a_killed_process_in_staging_are_deleted(lake: Lake, instance: dg.DagsterInstance) -> None:
    left = Path(lake.path(".staging-abc"))
    left.mkdir()
    (left / "half.parquet").write_text("half")
    _age(lake, 49)
    assert [removal.name for removal in _clean(lake, instance)] == [".staging-abc/half.parquet"]


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["features", "gbm_model", "totals_forecast"]), st.sets(st.integers(0, 9)), min_size=1
    ),
    st.integers(0, 9),
    st.integers(1, 5),
)
def test_kept_data_is_complete_and_a_second_pass_deletes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    instance: dg.DagsterInstance,
    made: dict[str, set[int]],
    forecast: int,
    kept: int,
) -> None:
    lake = Lake(root=str(tmp_path_factory.mktemp("lake")))
    for dataset, weeks in made.items():
        for i in weeks:
            _publish(lake, dataset, WEEK.shift(-i), "old")
            _publish(lake, dataset, WEEK.shift(-i))
    _publish(lake, "ensemble_forecast", WEEK.shift(-forecast))
    needed = {
        (dataset, WEEK.shift(-forecast).key)
        for dataset in ("features", "totals_forecast")
        if forecast in made.get(dataset, set())
    }
    _age(lake, 100)
    keep = KEEP.model_copy(update={"features_weeks": kept, "predictions_weeks": kept})
    _clean(lake, instance, keep)
    manifests = [lake.get(d, week) for d in housekeeping.datasets(lake) for week in lake.partitions(d)]
    assert all(_whole(lake, manifest) for manifest in manifests)
    assert needed <= {(manifest.dataset, str(manifest.partition)) for manifest in manifests}
    assert len(lake.partitions("gbm_model")) == len(made.get("gbm_model", set()))
    assert housekeeping.plan(lake, instance, keep, NOW) == []


def test_old_runs_are_deleted_with_their_events(lake: Lake, instance: dg.DagsterInstance) -> None:
    @dg.job
    def empty() -> None:
        pass

    old = empty.execute_in_process(instance=instance).run_id
    assert housekeeping.plan(lake, instance, KEEP, NOW) == []
    later = NOW + dt.timedelta(days=31)
    removals = housekeeping.plan(lake, instance, KEEP, later)
    assert [removal.name for removal in removals] == [old]
    housekeeping.carry_out(removals, lake, instance)
    assert instance.get_run_by_id(old) is None
    assert instance.all_logs(old) == []


def test_old_logs_of_commands_are_deleted(lake: Lake, instance: dg.DagsterInstance) -> None:
    folder = housekeeping.logs_folder(instance)
    folder.mkdir()
    for name, days in (("old.log", 31), ("new.log", 29)):
        (folder / name).write_text("printed\n")
        written = (NOW - dt.timedelta(days=days)).timestamp()
        os.utime(folder / name, (written, written))
    removals = housekeeping.plan(lake, instance, KEEP, NOW)
    assert [(removal.kind, Path(removal.name).name, removal.bytes) for removal in removals] == [
        ("old log", "old.log", 8)
    ]
    housekeeping.carry_out(removals, lake, instance)
    assert [file.name for file in folder.iterdir()] == ["new.log"]


def test_the_summary_has_counts_and_sizes(lake: Lake, instance: dg.DagsterInstance) -> None:
    assert housekeeping.summary([]) == ["nothing to delete"]
    removals = [housekeeping.Removal("old week", f"features/week=x/{i}", 500_000) for i in range(4)]
    assert housekeeping.summary(removals)[0].split() == ["old", "week", "features", "4", "2.0", "MB"]
