"""Tests of incident detection in real instances: what is an incident, what resolves it, what is ignored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.error import SerializableErrorInfo

from m5_assets.automation.sensors import incident_detection
from m5_assets.automation.sensors.incident_alerts import alerts
from m5_assets.checks.recording import Check, Finding, weekly_checks
from m5_assets.cli.runs import CODE_LOCATION
from m5_assets.dagster_internals import InstigatorType, ScheduleInstigatorData
from m5_assets.partitions import WEEKS
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.sample import write_sample
from m5_assets.settings import Settings
from m5_assets.weeks import Week
from m5_assets_tests.support.dagster_internals import (
    InstigatorState,
    InstigatorStatus,
    RemoteInstigatorOrigin,
    TickData,
    TickStatus,
)

UI = "http://ui"
WEEK = Week.parse("2016-05-16")
AFTER = dt.datetime(2016, 5, 24, 12, tzinfo=dt.UTC)
BROKEN: set[str] = set()
"""What is currently broken: `asset` or `check`."""


@dg.asset(partitions_def=WEEKS)
def table() -> None:
    if "asset" in BROKEN:
        raise ValueError("column units is missing")


table_checks = weekly_checks(
    "table",
    [Check("sound", "It is sound.", blocking=True)],
    lambda lake: lambda week: {"sound": Finding("check" not in BROKEN, f"{len(BROKEN)} faults")},
)


@dg.asset(partitions_def=WEEKS, deps=[table])
def report() -> None:
    pass


DEFS = dg.Definitions(
    [table, report], asset_checks=[table_checks], jobs=[dg.define_asset_job("made", "*")], resources={"lake": None}
)


@pytest.fixture(autouse=True)
def _whole() -> None:
    BROKEN.clear()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> LandingFolder:
    folder = tmp_path_factory.mktemp("landing")
    write_sample(folder, items=7, weeks=2, seed=1)
    return LandingFolder(root=str(folder))


@pytest.fixture
def on_disk() -> Iterator[dg.DagsterInstance]:
    """Return an instance on disk, because one in memory has no schedule storage."""
    with dg.instance_for_test() as found:
        yield found


def _run(
    instance: dg.DagsterInstance, lake: Lake, *broken: str, week: Week = WEEK, tags: dict[str, str] | None = None
) -> None:
    BROKEN.clear()
    BROKEN.update(broken)
    DEFS.resolve_job_def("made").execute_in_process(
        instance=instance, partition_key=week.key, raise_on_error=False, resources={"lake": lake}, tags=tags
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path))


def _runs(instance: dg.DagsterInstance) -> list[str]:
    return [i.title for i in incident_detection.failed_runs(instance, UI)]


def _checks(instance: dg.DagsterInstance) -> list[str]:
    return [i.title for i in incident_detection.failed_checks(instance, DEFS.get_repository_def(), UI)]


def test_a_failed_run_holds_until_a_later_one_succeeds(instance: dg.DagsterInstance, lake: Lake) -> None:
    _run(instance, lake)
    assert _runs(instance) == []
    _run(instance, lake, "asset")
    (found,) = incident_detection.failed_runs(instance, UI)
    assert found.title == "made failed, week 2016-05-16"
    assert found.what == "table: ValueError: column units is missing"
    assert found.link.startswith("http://ui/runs/")
    _run(instance, lake, week=WEEK.shift(-1))  # another week does not resolve it
    assert _runs(instance) == ["made failed, week 2016-05-16"]
    _run(instance, lake)
    assert _runs(instance) == []


def test_only_a_run_of_at_least_the_same_assets_resolves_a_failed_run(instance: dg.DagsterInstance) -> None:
    job = DEFS.resolve_job_def("made")
    part, week = {dg.AssetKey("table")}, {"dagster/partition": WEEK.key}
    span = {"dagster/asset_partition_range_start": WEEK.shift(-2).key, "dagster/asset_partition_range_end": WEEK.key}

    def ended(status: dg.DagsterRunStatus, tags: dict[str, str], assets: set[dg.AssetKey] | None = None) -> None:
        instance.create_run_for_job(job, status=status, tags=tags, asset_selection=assets)

    ended(dg.DagsterRunStatus.FAILURE, week)
    ended(dg.DagsterRunStatus.SUCCESS, week, part)
    assert _runs(instance) == ["made failed, week 2016-05-16"]
    ended(dg.DagsterRunStatus.SUCCESS, week)
    ended(dg.DagsterRunStatus.FAILURE, week, part)
    assert _runs(instance) == ["made failed, week 2016-05-16"]
    ended(dg.DagsterRunStatus.SUCCESS, span)
    assert _runs(instance) == []


def test_a_run_that_will_be_retried_is_no_incident(instance: dg.DagsterInstance, lake: Lake) -> None:
    _run(instance, lake, "asset", tags={"dagster/will_retry": "true"})
    assert _runs(instance) == []


def test_the_runs_of_a_backfill_are_one_incident(instance: dg.DagsterInstance, lake: Lake) -> None:
    for i in range(3):
        _run(instance, lake, "asset", week=WEEK.shift(-i), tags={"dagster/backfill": "abc"})
    assert [i.key for i in incident_detection.failed_runs(instance, UI)] == ["backfill:abc"]


def test_a_failed_check_is_reported_once_with_its_finding(instance: dg.DagsterInstance, lake: Lake) -> None:
    _run(instance, lake, "check")
    assert _runs(instance) == []
    (found,) = incident_detection.failed_checks(instance, DEFS.get_repository_def(), UI)
    assert found.title == "table: check sound failed, week 2016-05-16"
    assert found.what == "1 faults"
    assert "nothing is built from this week" in found.effect
    _run(instance, lake, week=WEEK.shift(-1))
    assert _checks(instance) == ["table: check sound failed, week 2016-05-16"]
    _run(instance, lake)
    assert _checks(instance) == []


def test_a_schedule_that_was_due_and_not_evaluated_is_missed(on_disk: dg.DagsterInstance) -> None:
    instance = on_disk
    now = dt.datetime(2016, 5, 23, 4, tzinfo=dt.UTC)  # a Monday; due at 2 o'clock
    state = _schedule_state(started=now - dt.timedelta(days=30))
    instance.add_instigator_state(state)
    crons = {"weekly": ("0 2 * * 1", "UTC")}

    def missed(at: dt.datetime = now) -> list[str]:
        return [i.what for i in incident_detection.missed_schedules(instance, crons, at, UI)]

    assert missed() == ["due at 2016-05-23 02:00 UTC, it was not evaluated"]
    _tick(instance, state, now - dt.timedelta(hours=2), TickStatus.FAILURE)
    assert missed() == ["due at 2016-05-23 02:00 UTC, its evaluation failed: no code server"]
    _tick(instance, state, now - dt.timedelta(hours=1), TickStatus.SKIPPED)
    assert missed() == []
    assert missed(now + dt.timedelta(days=7)) == ["due at 2016-05-30 02:00 UTC, it was not evaluated"]


def test_a_schedule_turned_on_later_has_missed_nothing(on_disk: dg.DagsterInstance) -> None:
    instance = on_disk
    now = dt.datetime(2016, 5, 23, 4, tzinfo=dt.UTC)
    instance.add_instigator_state(_schedule_state(started=now - dt.timedelta(minutes=5)))
    assert list(incident_detection.missed_schedules(instance, {"weekly": ("0 2 * * 1", "UTC")}, now, UI)) == []


def _schedule_state(started: dt.datetime) -> InstigatorState:
    origin = RemoteInstigatorOrigin(CODE_LOCATION, "weekly")
    data = ScheduleInstigatorData("0 2 * * 1", started.timestamp())
    return InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)


def _tick(instance: dg.DagsterInstance, state: InstigatorState, at: dt.datetime, status: TickStatus) -> None:
    instance.create_tick(
        TickData(
            state.instigator_origin_id,
            "weekly",
            InstigatorType.SCHEDULE,
            status,
            at.timestamp(),
            selector_id=state.selector_id,
            error=SerializableErrorInfo("no code server", [], None) if status == TickStatus.FAILURE else None,
        )
    )


def test_stale_and_unreadable_landings_are_reported(landing: LandingFolder, tmp_path: Path) -> None:
    def reported(where: LandingFolder, now: dt.datetime) -> list[str]:
        return [i.title for i in incident_detection.stale_data(where, now, Settings(), UI)]

    assert reported(landing, AFTER) == []
    assert reported(landing, AFTER + dt.timedelta(days=7)) == ["the landed sales are stale"]
    assert reported(LandingFolder(root=str(tmp_path)), AFTER) == ["the landed sales cannot be read"]


def test_landed_weeks_that_the_loaded_code_does_not_offer_are_reported(
    lake: Lake, landing: LandingFolder, tmp_path: Path
) -> None:
    def reported(folder: str) -> list[str]:
        where = LandingFolder(root=folder)
        return [
            i.title for i in incident_detection.weeks_not_offered(lake, where, dt.datetime.now(dt.UTC), Settings(), UI)
        ]

    assert reported(landing.root) == []
    assert reported(str(tmp_path / "nothing")) == []
    (tmp_path / "calendar.csv").write_text("date,wm_yr_wk,d\n2009-03-02,10906,d_1\n")
    columns = "id,item_id,dept_id,cat_id,store_id,state_id," + ",".join(f"d_{day}" for day in range(1, 15))
    (tmp_path / "sales_train_evaluation.csv").write_text(columns + "\n")
    assert reported(str(tmp_path)) == ["weeks 2009-03-02 to 2009-03-09 are landed and not all offered"]


def test_an_old_model_is_reported(lake: Lake) -> None:
    attributes = {"trained_week": WEEK.shift(-6).key, "trained_through": WEEK.shift(-6).origin.isoformat()}
    lake.commit(Manifest("gbm_model", WEEK.key, (), attributes=attributes))
    assert list(incident_detection.old_models(lake, AFTER, Settings(), UI)) == []
    (found,) = incident_detection.old_models(lake, AFTER + dt.timedelta(weeks=3), Settings(), UI)
    assert found.title == "gbm_model is too old, trained in week 2016-04-04"
    frozen = Settings(last_week=WEEK.first_day)
    assert list(incident_detection.old_models(lake, AFTER + dt.timedelta(weeks=3), frozen, UI)) == []
    assert list(incident_detection.old_models(lake, AFTER + dt.timedelta(weeks=60), Settings(), UI)) == []


def test_a_landed_week_without_a_forecast_is_late(lake: Lake, landing: LandingFolder) -> None:
    def reported(now: dt.datetime) -> list[str]:
        return [i.title for i in incident_detection.late_forecast(lake, landing, now, Settings(), UI)]

    assert reported(AFTER) == ["week 2016-05-16 is landed and not forecast"]
    assert reported(AFTER + dt.timedelta(weeks=60)) == []  # frozen
    assert reported(AFTER - dt.timedelta(hours=12)) == ["week 2016-05-09 is landed and not forecast"]
    lake.commit(Manifest("ensemble_forecast", WEEK.key, ()))
    assert reported(AFTER) == []


def test_the_sensor_reports_once_and_keeps_its_state_in_its_cursor(
    instance: dg.DagsterInstance, lake: Lake, landing: LandingFolder, caplog: pytest.LogCaptureFixture
) -> None:
    _run(instance, lake, "asset")
    cursor = None
    for _ in range(2):
        context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=DEFS)
        result = alerts(context, lake=lake, landing=landing)
        assert isinstance(result, dg.SensorResult)
        cursor = result.cursor
    reported = [
        record for record in caplog.records if record.name == "m5.alerts" and "made failed" in record.getMessage()
    ]
    assert len(reported) == 1


def test_a_detector_that_fails_is_reported_and_does_not_stop_the_others(
    instance: dg.DagsterInstance, landing: LandingFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = Lake(root=str(tmp_path))
    lake.write_bytes("gbm_model/week=2016-05-16/manifest.json", b"{ half a file")
    _run(instance, lake, "asset")
    alerts(dg.build_sensor_context(instance=instance, definitions=DEFS), lake=lake, landing=landing)
    assert "alerts cannot look at the models" in caplog.text
    assert "made failed" in caplog.text
