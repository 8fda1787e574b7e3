from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from m5_assets.resources.lake import Lake, Manifest
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.sample import write_sample
from m5_assets.schedules import next_replay_week, weekly, weekly_accuracy
from m5_assets.settings import Settings
from m5_assets.weeks import Week

FROZEN = Settings(last_week=dt.date(2016, 5, 16), min_history_weeks=50)


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> LandingResource:
    folder = tmp_path_factory.mktemp("landing")
    write_sample(folder, items=7, weeks=52, seed=1)
    return LandingResource(root=str(folder))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path))


def _made(lake: Lake, dataset: str, *keys: str) -> None:
    for key in keys:
        lake.commit(Manifest(dataset, key, ()))


def test_a_replay_asks_for_the_earliest_week_not_yet_forecast(lake: Lake, landing: LandingResource) -> None:
    asked = []
    while (week := next_replay_week(FROZEN, lake, landing)) is not None:
        asked.append(week.key)
        _made(lake, "ensemble_forecast", week.key)
    # 52 weeks are landed, the last one is 2016-05-16; the first with 50 weeks behind it is the 50th.
    assert asked == ["2016-05-02", "2016-05-09", "2016-05-16"]


def test_a_replay_fills_a_gap_first(lake: Lake, landing: LandingResource) -> None:
    _made(lake, "ensemble_forecast", "2016-05-02", "2016-05-16")
    assert next_replay_week(FROZEN, lake, landing) == Week.parse("2016-05-09")


@pytest.mark.parametrize(
    ("fired", "week"),
    [
        (dt.datetime(2026, 11, 16, 2, tzinfo=dt.UTC), "2026-11-09"),
        (dt.datetime(2026, 11, 23, 2, tzinfo=dt.UTC), "2026-11-16"),
    ],
)
def test_the_clock_asks_for_the_week_that_ended_yesterday(
    lake: Lake, landing: LandingResource, fired: dt.datetime, week: str
) -> None:
    context = dg.build_schedule_context(scheduled_execution_time=fired)
    request = weekly(context, lake=lake, landing=landing)
    assert isinstance(request, dg.RunRequest)
    assert (request.partition_key, request.run_key) == (week, week)


def test_accuracy_is_asked_for_once_the_four_weeks_are_loaded(lake: Lake) -> None:
    _made(lake, "ensemble_forecast", "2016-03-21", "2016-04-18", "2016-04-25")
    _made(lake, "forecast_accuracy", "2016-03-21")
    _made(lake, "raw_sales", *(Week.parse("2016-03-21").shift(i).key for i in range(9)))
    requests = weekly_accuracy(dg.build_schedule_context(), lake=lake)
    assert isinstance(requests, list)
    assert [request.partition_key for request in requests] == ["2016-04-18"]
    _made(lake, "forecast_accuracy", "2016-04-18")
    assert isinstance(weekly_accuracy(dg.build_schedule_context(), lake=lake), dg.SkipReason)
