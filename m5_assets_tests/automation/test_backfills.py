"""Backfills from the asset graph and from a job's page: the dialogue, the runs, and the weeks chosen are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from m5_assets.definitions import defs
from m5_assets.weeks import Week, weeks_between
from m5_assets_tests.support.launched_backfills import Orchestrator, Plan, orchestrator, planned

ALL = sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys())
WHOLE = {"sell_prices", "calendar", "rds_calendar"}
MODELS = ("gbm_model", "lstm_model", "totals_model")
LAST = Week.parse("2016-05-16")
ONE = [LAST.key]
SEVERAL = [week.key for week in weeks_between(LAST.shift(-2), LAST)]
GAPS = [LAST.shift(-back).key for back in (30, 1, 0)]


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orchestrator]:
    with orchestrator(tmp_path_factory.mktemp("backfills")) as found:
        yield found


def exactly(assets: Sequence[str], weeks: Sequence[str]) -> Plan:
    return {name: [] if name in WHOLE else list(weeks) for name in assets}


def upstream(name: str) -> list[str]:
    graph = defs.resolve_asset_graph()
    found, todo = set(), [next(key for key in graph.get_all_asset_keys() if key.to_user_string() == name)]
    while todo:
        key = todo.pop()
        found.add(key.to_user_string())
        todo += graph.get(key).parent_keys
    return sorted(found)


@pytest.mark.parametrize("weeks", [ONE, SEVERAL, GAPS], ids=["one week", "several", "gaps"])
@pytest.mark.parametrize("assets", [ALL, upstream("ensemble_forecast"), ["raw_sales", "forecast_accuracy"]])
def test_the_dialogue_and_the_backfill_are_the_assets_and_weeks_chosen(
    dagster: Orchestrator, assets: list[str], weeks: list[str]
) -> None:
    assert dagster.preview(assets, weeks) == exactly(assets, weeks)
    assert dagster.target(dagster.launch(assets, weeks)) == exactly(assets, weeks)


@pytest.mark.parametrize(
    ("assets", "weeks"),
    [
        (upstream("ensemble_forecast"), ONE),
        (["features", *MODELS], GAPS),
        (["sell_prices", "ensemble_weights", "ensemble_forecast", "rds_forecast"], SEVERAL),
    ],
    ids=["all upstream", "no sales", "with a whole table"],
)
def test_the_runs_of_a_backfill_are_these_assets_and_weeks_one_at_a_time_oldest_first(
    dagster: Orchestrator, assets: list[str], weeks: list[str]
) -> None:
    assert planned(dagster.carry_out(dagster.launch(assets, weeks))) == exactly(assets, weeks)


@pytest.mark.parametrize(
    ("job", "runs"), [("weekly_forecast", 3), ("back_history", 1), ("feature_weeks", 1), ("accuracy", 3)]
)
def test_a_backfill_from_a_jobs_page_is_what_its_dialogue_says(dagster: Orchestrator, job: str, runs: int) -> None:
    keys = defs.resolve_job_def(job).asset_layer.executable_asset_keys
    assets = sorted(key.to_user_string() for key in keys)
    assert dagster.preview(assets, SEVERAL) == exactly(assets, SEVERAL)
    started = dagster.carry_out(dagster.launch_job(job, SEVERAL))
    assert planned(started) == exactly(assets, SEVERAL)
    assert len(started) == runs


def test_dagster_leaves_out_what_lies_behind_a_hole_in_the_selection_and_its_dialogue_says_so(
    dagster: Orchestrator,
) -> None:
    """A defect of Dagster 1.13, described in docs/operations.md; if this fails, it is fixed."""
    assets = ["gbm_model", "ensemble_weights"]  # without the predictions in between
    assert dagster.preview(assets, ONE) == exactly(["gbm_model"], ONE)
    assert planned(dagster.carry_out(dagster.launch(assets, ONE))) == exactly(["gbm_model"], ONE)
