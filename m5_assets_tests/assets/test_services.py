"""Tests with a real webserver, daemon, runs, jobs and database: a backfill from the UI, three weeks without a daemon.

Not here: backfills from the command line (`test_backfill`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from m5_assets.dagster_internals import BACKFILL_ID_TAG, PARTITION_NAME_TAG, InstigatorType, ScheduleInstigatorData
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.load import loaded_weeks, read_forecast
from m5_assets.resources.postgres.schema import forecast
from m5_assets.sample import write_sample
from m5_assets.weeks import Week, weeks_between
from m5_assets_tests.support.dagster_internals import BulkActionStatus, InstigatorState, InstigatorStatus, TickStatus
from m5_assets_tests.support.home import Home
from m5_assets_tests.support.services import Services

LANDED = Week.parse("2015-04-20")
FIRST, LAST = Week.parse("2016-04-18"), Week.parse("2016-04-25")
MISSED = weeks_between(LAST.shift(1), LAST.shift(3))
"""Landed while the daemon is off."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("services"), others={"M5_CADENCE_WEEKS": "8"})  # one training is enough
    write_sample(home.path / "landing", items=7, weeks=57, seed=4)
    yield home
    EmbeddedServer(home.path).stop()


@pytest.fixture(scope="module")
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    folder = home.path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").symlink_to(Path(__file__).parents[2] / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(folder)) as found:
        yield found


@pytest.fixture(scope="module")
def services(home: Home, instance: dg.DagsterInstance) -> Iterator[Services]:
    services = Services(
        home.path, home.environment | {"DAGSTER_HOME": str(home.path / "dagster"), "M5_LAST_WEEK": "live"}
    )
    services.start("webserver")
    services.start("daemon")
    yield services
    services.close()


def _weeks_run(instance: dg.DagsterInstance) -> list[str]:
    """Return the weeks of the successful weekly runs in start order, and assert that no two overlapped."""
    records = instance.get_run_records(dg.RunsFilter(job_name="weekly_forecast"))
    assert all(record.dagster_run.status != dg.DagsterRunStatus.FAILURE for record in records)
    ended = sorted((r for r in records if r.dagster_run.is_success), key=lambda record: record.start_time or 0.0)
    for one, following in pairwise(ended):
        assert (one.end_time or 0.0) <= (following.start_time or 0.0)
    return [record.dagster_run.tags[PARTITION_NAME_TAG] for record in ended]


def _kinds(home: Home) -> dict[str, int]:
    names = [path.name.split("-2016")[0] for path in (home.path / "sagemaker" / "jobs").glob("*/*")]
    return {name: names.count(name) for name in names}


@pytest.mark.long
def test_a_backfill_from_the_ui_runs_exactly_the_requested_weeks(
    home: Home, instance: dg.DagsterInstance, services: Services
) -> None:
    def launch(job: str, weeks: list[Week]) -> int:
        """Launch a backfill, wait for its end and return how many runs it took."""
        name = services.backfill(job, weeks)

        def status() -> BulkActionStatus:
            backfill = instance.get_backfill(name)
            assert backfill is not None
            return backfill.status

        services.until(lambda: status() != BulkActionStatus.REQUESTED, 500, f"the backfill of {job} ends")
        assert status() == BulkActionStatus.COMPLETED_SUCCESS
        return len(instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: name})))

    assert launch("back_history", weeks_between(LANDED, LAST)) == 1
    assert launch("feature_weeks", [FIRST, LAST]) == 1
    assert launch("weekly_forecast", [FIRST, LAST]) == 2
    assert _weeks_run(instance) == [FIRST.key, LAST.key]
    assert _kinds(home) == {
        "features": 1,
        **dict.fromkeys(("gbm-model", "lstm-model", "totals-model"), 1),
        **dict.fromkeys(("gbm-predictions", "lstm-predictions", "totals-forecast"), 2),
    }
    engine = PostgresResource(home=str(home.path)).engine()
    assert loaded_weeks(engine, forecast) == {FIRST.first_day, LAST.first_day}
    assert [read_forecast(engine, week.first_day).num_rows for week in (FIRST, LAST)] == [7 * 10 * 28] * 2


def _turned_on_before(instance: dg.DagsterInstance, services: Services, ago: dt.timedelta) -> InstigatorState:
    """Turn the weekly schedule on, with the record it would have if the daemon had been off since then."""
    services.turn_on("weekly")
    (state,) = [
        state
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        if state.instigator_name == "weekly" and state.status == InstigatorStatus.RUNNING
    ]
    data = state.instigator_data
    assert isinstance(data, ScheduleInstigatorData)
    begun = (dt.datetime.now(dt.UTC) - ago).timestamp()
    instance.update_instigator_state(state.with_data(ScheduleInstigatorData(data.cron_schedule, begun)))
    return state


@pytest.mark.long
def test_a_daemon_that_was_off_for_three_weeks_catches_up_in_order_once(
    home: Home, instance: dg.DagsterInstance, services: Services
) -> None:
    services.kill("daemon")
    state = _turned_on_before(instance, services, dt.timedelta(weeks=3))

    services.start("daemon")
    made = [week.key for week in (FIRST, LAST, *MISSED)]
    services.until(lambda: len(_weeks_run(instance)) == len(made), 500, "the three weeks are made")
    assert _weeks_run(instance) == made
    # Dagster evaluates only the last of the missed ticks, once.
    (tick,) = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert tick.status == TickStatus.SUCCESS
    assert [key.partition("@")[0] for key in tick.run_keys or ()] == [week.key for week in MISSED]
    engine = PostgresResource(home=str(home.path)).engine()
    assert loaded_weeks(engine, forecast) == {week.first_day for week in (FIRST, LAST, *MISSED)}
    assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED]))
