from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from m5_assets.automation.due_weeks import due_weeks, replay_week, weeks_to_score
from m5_assets.automation.landed_loads import (
    Contents,
    Load,
    loads,
    spans,
    totals_to_load,
    unfinished_loads,
    weeks_to_load,
)
from m5_assets.automation.schedules import weekly, weekly_accuracy, weekly_housekeeping
from m5_assets.readers.known_inputs import digest_of
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import LakeFile, Manifest
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.sample import write_sample
from m5_assets.settings import Settings, settings
from m5_assets.weeks import Week

LAST = Week.parse("2016-05-16")
LANDED = (dt.date(2015, 5, 25), dt.date(2016, 5, 22))  # 52 weeks
SETTINGS = Settings(min_history_weeks=50)


def _at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> LandingFolder:
    folder = tmp_path_factory.mktemp("landing")
    write_sample(folder, items=7, weeks=52, seed=1)
    return LandingFolder(root=str(folder))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def _made(lake: Lake, dataset: str, *keys: str, content: str | None = None) -> None:
    for key in keys:
        lake.commit(Manifest(dataset, key, (), attributes={"content": content} if content else {}))


def test_a_replay_requests_the_earliest_week_not_yet_forecast(lake: Lake) -> None:
    asked = []
    while (week := replay_week(lake, LANDED[0], LAST, SETTINGS)) is not None:
        asked.append(week.key)
        _made(lake, "ensemble_forecast", week.key)
    # 52 weeks have landed, the last one 2016-05-16; the first week with 50 weeks of sales is the 50th.
    assert asked == ["2016-05-02", "2016-05-09", "2016-05-16"]


def test_a_replay_fills_gaps_first_and_skips_weeks_under_way(lake: Lake) -> None:
    _made(lake, "ensemble_forecast", "2016-05-02", "2016-05-16")
    assert replay_week(lake, LANDED[0], LAST, SETTINGS) == Week.parse("2016-05-09")
    assert replay_week(lake, LANDED[0], LAST, SETTINGS, {"2016-05-09"}) is None


@pytest.mark.parametrize(
    ("done", "landed", "now", "due"),
    [
        # no forecast yet: only the newest week
        ((), LANDED[1], "2016-05-23T02:00", ["2016-05-16"]),
        (("2016-05-09",), LANDED[1], "2016-05-23T02:00", ["2016-05-16"]),
        # three weeks behind
        (("2016-04-25",), LANDED[1], "2016-05-23T02:00", ["2016-05-02", "2016-05-09", "2016-05-16"]),
        # not over, not completely landed, already forecast
        (("2016-05-09",), LANDED[1], "2016-05-22T23:00", []),
        (("2016-05-09",), dt.date(2016, 5, 21), "2016-05-23T02:00", []),
        (("2016-05-16",), LANDED[1], "2016-05-30T02:00", []),
        # too little history
        (("2016-04-11",), LANDED[1], "2016-05-23T02:00", ["2016-05-02", "2016-05-09", "2016-05-16"]),
    ],
)
def test_due_weeks(lake: Lake, done: tuple[str, ...], landed: dt.date, now: str, due: list[str]) -> None:
    _made(lake, "ensemble_forecast", *done)
    assert [week.key for week in due_weeks(lake, (LANDED[0], landed), _at(now), SETTINGS)] == due


def test_weeks_that_changed_or_are_missing_are_loaded(lake: Lake) -> None:
    sales = {Week.parse("2016-04-18").shift(i).key: f"c{i}" for i in range(5)}
    totals = {key: f"t{content}" for key, content in sales.items()}
    contents = {"raw_sales": sales, "store_dept_sales": totals}
    for key in list(sales)[:3]:
        _made(lake, "raw_sales", key, content=sales[key])
        _made(lake, "store_dept_sales", key, content=totals[key])
    due = [Week.parse("2016-05-16")]
    assert weeks_to_load(lake, contents, [], [], []) == []
    assert [w.key for w in weeks_to_load(lake, contents, due, due, [])] == ["2016-05-09"]
    assert [w.key for w in weeks_to_load(lake, contents, due, [], [])] == ["2016-05-09", "2016-05-16"]
    corrected = {**contents, "raw_sales": sales | {"2016-04-25": "other"}}
    assert [w.key for w in weeks_to_load(lake, corrected, due, due, [])] == ["2016-04-25", "2016-05-09"]
    corrected = {**contents, "store_dept_sales": totals | {"2016-05-02": "other"}}
    assert weeks_to_load(lake, corrected, [], [], []) == []
    assert [w.key for w in totals_to_load(lake, corrected, [], [], [])] == ["2016-05-02"]
    assert [w.key for w in totals_to_load(lake, corrected, due, due, [])] == ["2016-05-02", "2016-05-09"]
    loading = [Week.parse("2016-05-02"), Week.parse("2016-05-09"), *due]
    assert totals_to_load(lake, corrected, due, loading, []) == []


def _summary(found: list[Load]) -> list[tuple[str, str]]:
    return [(load.name, " ".join(load.assets)) for load in found]


def test_loads_are_in_order_and_bring_prices_and_calendar_with_the_first_sales(lake: Lake) -> None:
    weeks = [Week.parse("2016-04-18").shift(i) for i in range(5)]
    contents: Contents = {
        "raw_sales": {week.key: "c" for week in weeks[1:]},
        "store_dept_sales": {week.key: "t" for week in weeks},
    }
    sales = "raw_sales rds_sales store_dept_sales rds_store_dept_sales"
    totals = ("totals 2016-04-18 to 2016-04-18", "store_dept_sales rds_store_dept_sales")
    tables = "sell_prices calendar rds_calendar"
    due = weeks[-1:]
    found = loads(lake, contents, due, own=due)
    assert _summary(found) == [totals, ("2016-04-25 to 2016-05-09", f"{tables} {sales}")]
    assert found[1].tags == {
        "dagster/asset_partition_range_start": "2016-04-25",
        "dagster/asset_partition_range_end": "2016-05-09",
    }
    assert _summary(loads(lake, contents, weeks))[1] == ("2016-04-25 to 2016-05-16", f"{tables} {sales}")
    for week in weeks:
        _made(lake, "store_dept_sales", week.key, content="t")
        _made(lake, "raw_sales", week.key, content="old" if week in (weeks[1], weeks[3]) else "c")
    corrected = [("2016-04-25 to 2016-04-25", f"{tables} {sales}"), ("2016-05-09 to 2016-05-09", sales)]
    assert _summary(loads(lake, contents, due, own=due)) == corrected
    assert _summary(loads(lake, contents, [])) == corrected  # a correction is loaded, whatever is forecast
    for week in weeks:
        _made(lake, "raw_sales", week.key, content="c")
    assert loads(lake, contents, due, own=due) == []
    assert _summary(loads(lake, contents, due, tables=["calendar"])) == [("calendar", "calendar rds_calendar")]
    lacking = {"raw_sales": {weeks[1].key}, "store_dept_sales": {weeks[1].key, weeks[2].key, "2014-01-06"}}
    found = loads(lake, contents, due, own=due, lacking=lacking)
    assert [load.name for load in found] == ["2016-04-25 to 2016-04-25", "totals 2016-05-02 to 2016-05-02"]


def test_a_load_that_ended_half_way_is_made_again(instance: dg.DagsterInstance) -> None:
    def materialized(name: str, *weeks: str) -> None:
        for week in weeks:
            instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(name), partition=week))

    assert unfinished_loads(instance) == {"raw_sales": set(), "store_dept_sales": set()}
    whole = ("raw_sales", "rds_sales", "store_dept_sales", "rds_store_dept_sales")
    for name in whole:
        materialized(name, "2016-05-02", "2016-05-09")
    assert unfinished_loads(instance) == {"raw_sales": set(), "store_dept_sales": set()}
    materialized("raw_sales", "2016-05-02")
    materialized("rds_sales", "2016-05-02")  # killed before the totals
    materialized("store_dept_sales", "2016-05-09")
    assert unfinished_loads(instance) == {"raw_sales": {"2016-05-02"}, "store_dept_sales": {"2016-05-09"}}
    for name in whole:
        materialized(name, "2016-05-02", "2016-05-09")
    assert unfinished_loads(instance) == {"raw_sales": set(), "store_dept_sales": set()}


def test_spans_join_consecutive_weeks() -> None:
    weeks = [Week.parse("2016-04-18").shift(i) for i in (4, 0, 1, 2)]
    assert [(a.key, b.key) for a, b in spans(weeks)] == [("2016-04-18", "2016-05-02"), ("2016-05-16", "2016-05-16")]


def _evaluation(instance: dg.DagsterInstance, at: str) -> dg.ScheduleEvaluationContext:
    """Return the context of an evaluation, to be closed.

    It opens the instance a second time. Left to the garbage collector, it would look for its database in the middle of
    another test, when the folder is gone.
    """
    return dg.build_schedule_context(instance=instance, scheduled_execution_time=_at(at))


def _tick(instance: dg.DagsterInstance, lake: Lake, landing: LandingFolder, at: str) -> list[dg.RunRequest]:
    with _evaluation(instance, at) as context:
        found = weekly(context, lake=lake, landing=landing)
    return found if isinstance(found, list) else []


def test_three_missed_weeks_are_requested_in_order_and_once(
    instance: dg.DagsterInstance, lake: Lake, landing: LandingFolder
) -> None:
    _made(lake, "ensemble_forecast", "2016-04-25")
    load, *requests = _tick(instance, lake, landing, "2016-05-23T02:00")
    assert load.run_key == "load 2015-05-25 to 2016-04-25 @2016-05-23T02:00"  # an empty lake needs the history first
    assert [request.partition_key for request in requests] == ["2016-05-02", "2016-05-09", "2016-05-16"]
    for request in requests:  # as the daemon does
        instance.create_run_for_job(
            dg.define_asset_job("weekly_forecast", "*").resolve(
                asset_graph=dg.Definitions([dg.asset(lambda: None, name="a")]).resolve_asset_graph()
            ),
            tags={"dagster/partition": str(request.partition_key)},
        )
    assert _tick(instance, lake, landing, "2016-05-30T02:00") == []


def test_a_week_that_has_not_landed_is_not_requested(
    instance: dg.DagsterInstance, lake: Lake, landing: LandingFolder, tmp_path: Path
) -> None:
    _made(lake, "ensemble_forecast", "2016-05-16")
    with _evaluation(instance, "2016-11-14T02:00") as context:
        found = weekly(context, lake=lake, landing=landing)
        nowhere = weekly(context, lake=lake, landing=LandingFolder(root=str(tmp_path / "nowhere")))
    assert isinstance(found, dg.SkipReason)
    assert "landed through 2016-05-22" in str(found.skip_message)
    assert isinstance(nowhere, dg.SkipReason)
    assert "missing file" in str(nowhere.skip_message)


def test_sales_that_ended_long_ago_are_replayed_one_week_per_tick(
    instance: dg.DagsterInstance, lake: Lake, landing: LandingFolder
) -> None:
    keys = ["2016-05-02", "2016-05-09"]
    for done, at in enumerate(("2026-11-16T02:00", "2026-11-23T02:00")):
        _made(lake, "ensemble_forecast", *keys[:done])
        assert [r.partition_key for r in _tick(instance, lake, landing, at) if r.partition_key] == [keys[done]]


def test_the_landed_days_are_those_of_the_file(landing: LandingFolder) -> None:
    assert landing.open().days() == LANDED


def test_accuracy_is_requested_once_the_four_weeks_are_loaded(instance: dg.DagsterInstance, lake: Lake) -> None:
    _made(lake, "ensemble_forecast", "2016-03-21", "2016-04-18", "2016-04-25")
    _made(lake, "forecast_accuracy", "2016-03-21")
    _made(lake, "raw_sales", *(Week.parse("2016-03-21").shift(i).key for i in range(9)))
    with _evaluation(instance, "2016-05-30T04:00") as context:
        requests = weekly_accuracy(context, lake=lake)
        assert isinstance(requests, list)
        assert [request.partition_key for request in requests] == ["2016-04-18"]
        _made(lake, "forecast_accuracy", "2016-04-18")
        assert isinstance(weekly_accuracy(context, lake=lake), dg.SkipReason)


@pytest.mark.parametrize("corrected", ["ensemble_forecast", "raw_sales"])
def test_a_week_is_scored_again_once_its_forecast_or_its_sales_are_corrected(lake: Lake, corrected: str) -> None:
    week = Week.parse("2016-03-21")
    ahead = [week.shift(i).key for i in range(1, 5)]

    def load(dataset: str, key: str, content: str, inputs: dict[str, str] | None = None) -> None:
        lake.write_bytes(f"{dataset}/{key}", content.encode())
        lake.commit(Manifest(dataset, key, (LakeFile(f"{dataset}/{key}", len(content), content),), inputs or {}))

    def score() -> None:
        sales = digest_of([lake.get("raw_sales", key) for key in ahead])
        made = lake.get("ensemble_forecast", week.key).digest
        load("forecast_accuracy", week.key, "scores", {"ensemble_forecast": made, "raw_sales": sales})

    for key in ahead:
        load("raw_sales", key, "as landed")
    load("ensemble_forecast", week.key, "as made")
    assert weeks_to_score(lake) == [week]
    score()
    assert weeks_to_score(lake) == []
    load(corrected, {"raw_sales": ahead[2], "ensemble_forecast": week.key}[corrected], "corrected")
    assert weeks_to_score(lake) == [week]
    score()
    assert weeks_to_score(lake) == []


def test_housekeeping_is_requested_once_per_tick(instance: dg.DagsterInstance) -> None:
    with _evaluation(instance, "2016-05-30T06:30") as context:
        assert weekly_housekeeping(context).run_key == "housekeeping@2016-05-30T06:30"  # type: ignore[union-attr]


def test_the_settings_of_these_tests_are_live() -> None:
    assert settings().last_week is None
    assert pd.Timestamp(LANDED[1]).day_name() == "Sunday"


@pytest.mark.parametrize(
    ("hour", "expected"),
    [
        ("2", ["0 2 * * 1", "0 4 * * 1", "30 6 * * 1"]),
        ("21", ["0 21 * * 1", "0 23 * * 1", "30 1 * * 2"]),
        ("23", ["0 23 * * 1", "0 1 * * 2", "30 3 * * 2"]),
    ],
)
def test_accuracy_and_housekeeping_follow_the_forecast_past_midnight(hour: str, expected: list[str]) -> None:
    program = "from m5_assets.automation.schedules import SCHEDULES; print([s.cron_schedule for s in SCHEDULES])"
    environment = os.environ | {"M5_SCHEDULE_HOUR": hour}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
