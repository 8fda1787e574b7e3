"""Tests with a real webserver, daemon, runs, jobs and database: three weeks without a daemon, a backfill from the UI.

Not here: backfills from the command line (`test_backfill`), and which runs a backfill from the UI consists of
(`automation/test_backfills`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise

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

LAST = Week.parse("2016-04-25")
MISSED = weeks_between(LAST.shift(1), LAST.shift(3))
"""Landed while the daemon is off."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("services"), others={"M5_CADENCE_WEEKS": "8"})  # one training is enough
    write_sample(home.path / "landing", items=7, weeks=57, seed=4)
    home.run("forecast", "--week", LAST.key)
    yield home
    EmbeddedServer(home.path).stop()


@pytest.fixture(scope="module")
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home.path / "dagster")) as found:
        yield found


@pytest.fixture(scope="module")
def services(home: Home, instance: dg.DagsterInstance) -> Iterator[Services]:
    services = Services(
        home.path, home.environment | {"DAGSTER_HOME": str(home.path / "dagster"), "M5_LAST_WEEK": "live"}
    )
    services.start("webserver")
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
    state = _turned_on_before(instance, services, dt.timedelta(weeks=3))
    services.start("daemon")
    made = [week.key for week in (LAST, *MISSED)]
    services.until(lambda: len(_weeks_run(instance)) == len(made), 500, "the three weeks are made")
    assert _weeks_run(instance) == made
    # Dagster evaluates only the last of the missed ticks, once.
    (tick,) = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    assert tick.status == TickStatus.SUCCESS
    assert [key.partition("@")[0] for key in tick.run_keys or ()] == [week.key for week in MISSED]
    engine = PostgresResource(home=str(home.path)).engine()
    assert loaded_weeks(engine, forecast) == {week.first_day for week in (LAST, *MISSED)}
    assert [read_forecast(engine, week.first_day).num_rows for week in MISSED] == [7 * 10 * 28] * 3
    assert not instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED]))


@pytest.mark.long
def test_a_backfill_from_the_graph_rebuilds_these_assets_and_weeks_oldest_first(
    instance: dg.DagsterInstance, services: Services
) -> None:
    assets, weeks = ["ensemble_weights", "ensemble_forecast"], [LAST, MISSED[1]]
    name = services.backfill(assets, weeks)

    def status() -> BulkActionStatus:
        backfill = instance.get_backfill(name)
        assert backfill is not None
        return backfill.status

    services.until(lambda: status() != BulkActionStatus.REQUESTED, 500, "the backfill ends")
    assert status() == BulkActionStatus.COMPLETED_SUCCESS
    runs = instance.get_run_records(dg.RunsFilter(tags={BACKFILL_ID_TAG: name}), ascending=True)
    assert [record.dagster_run.tags[PARTITION_NAME_TAG] for record in runs] == [week.key for week in weeks]
    assert [record.dagster_run.asset_selection for record in runs] == [{*map(dg.AssetKey, assets)}] * 2
    first, second = runs
    assert (first.end_time or 0.0) <= (second.start_time or 0.0)
