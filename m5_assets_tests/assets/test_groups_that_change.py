"""Tests of stores, departments and items that open and leave between two trainings, in every way of starting a week."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.sample import write_sample
from m5_assets.weeks import Week
from m5_assets_tests.support.home import Home

pytestmark = pytest.mark.long
WEEKS = [Week.parse(key) for key in ("2016-04-11", "2016-04-18", "2016-04-25")]
LAST_DAY = 1941
OPENED = {"store_id": "WI_1", "dept_id": "HOUSEHOLD_2", "item_id": "FOODS_3_001"}
"""What opens in the second week: a store, a department in all stores, and an item."""
LEFT = {"store_id": "CA_1", "item_id": "FOODS_3_002"}
"""What the third week's file lacks."""

SCHEDULED = """
import datetime as dt
import dagster as dg
from m5_assets.automation.schedules import weekly
from m5_assets.cli.instance import dagster_home
from m5_assets.definitions import defs
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.settings import settings

dagster_home()
with dg.DagsterInstance.get() as instance:
    at = dt.datetime(2016, 4, 25, 2, tzinfo=dt.UTC)
    context = dg.build_schedule_context(instance, scheduled_execution_time=at)
    requests = weekly(context, lake=Lake(root=settings().lake), landing=LandingFolder(root=settings().landing))
    job = defs.resolve_job_def("weekly_forecast")
    for request in requests:
        done = job.execute_in_process(
            instance=instance,
            partition_key=request.partition_key,
            asset_selection=request.asset_selection,
            tags=request.tags,
        )
        assert done.success
        print(request.partition_key or request.run_key)
"""
"""What the daemon does when the schedule fires, in one process."""


def _land(whole: Path, target: Path, number: int) -> None:
    """Write the files as of a week: later ones reach four weeks beyond, for its score."""
    target.mkdir()
    (target / "calendar.csv").write_bytes((whole / "calendar.csv").read_bytes())
    sales, prices = (pd.read_csv(whole / name, dtype=str) for name in ("sales_train_evaluation.csv", "sell_prices.csv"))
    prices[prices["store_id"].isin(["CA_1", "TX_1", "WI_1"])].to_csv(target / "sell_prices.csv", index=False)
    sales = sales[sales["store_id"].isin(["CA_1", "TX_1", "WI_1"])].copy()
    new = pd.concat([sales[key] == name for key, name in OPENED.items()], axis=1).any(axis=1)
    gone = pd.concat([sales[key] == name for key, name in LEFT.items()], axis=1).any(axis=1)
    days = [name for name in sales.columns if name.startswith("d_")]
    before = [name for name in days if int(name[2:]) <= LAST_DAY - 35]
    sales.loc[new, before] = "0"
    if number == 0:
        sales = sales[~new]
    if number == 2:
        sales = sales[~gone]
    late = [name for name in days if number < 2 and int(name[2:]) > LAST_DAY - 35 + 7 * number]
    sales.drop(columns=late).to_csv(target / "sales_train_evaluation.csv", index=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Return a home in which the schedule forecast two weeks and a backfill the third."""
    home = Home(tmp_path_factory.mktemp("groups"), others={"M5_HISTORY_WEEKS": "56", "M5_MIN_HISTORY_WEEKS": "53"})
    write_sample(home.path / "whole", items=16, weeks=58, seed=6)
    for number, week in enumerate(WEEKS):
        landing = home.path / f"landing-{number}"
        _land(home.path / "whole", landing, number)
        home = replace(home, others={**home.others, "M5_LANDING": str(landing), "M5_LAST_WEEK": week.key})
        if number < 2:
            command = [sys.executable, "-c", SCHEDULED]
            done = subprocess.run(command, env=home.environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-6000:]
            assert done.stdout.split()[-1] == week.key
            # Rows of zeros for what opens now correct no earlier week.
            assert ("load" in done.stdout) == (number == 0)
        else:
            home = replace(home, others={**home.others, "M5_LAST_WEEK": "2016-05-16"})  # as far as its file reaches
            home.run("backfill", "--from", week.key, "--to", week.key)
    yield home
    EmbeddedServer(home.path).stop()


def _series(frame: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(frame["store_id"].astype(str), frame["item_id"].astype(str), strict=True))


@pytest.mark.parametrize("number", range(3), ids=["before", "opened", "left"])
def test_a_week_forecasts_the_series_of_its_own_file(home: Home, number: int) -> None:
    landed = pd.read_csv(home.path / f"landing-{number}" / "sales_train_evaluation.csv")
    rows = home.rows(WEEKS[number])
    assert _series(rows) == _series(landed)
    assert len(rows) == 28 * len(landed)


def test_a_new_store_is_forecast_at_the_level_of_its_first_week(home: Home) -> None:
    rows = home.rows(WEEKS[1])
    landed = pd.read_csv(home.path / "landing-1" / "sales_train_evaluation.csv")
    days = [name for name in landed.columns if name.startswith("d_")]
    sold = landed.loc[landed["store_id"] == OPENED["store_id"], days]
    assert sold[days[:-7]].to_numpy().sum() == 0
    a_day = rows.loc[rows["store_id"] == OPENED["store_id"], "ensemble"].sum() / 28
    assert 0.7 < a_day / (sold[days[-7:]].to_numpy().sum() / 7) < 1.4


def test_models_that_do_not_fit_are_retrained(home: Home) -> None:
    trained = {
        model: [home.lake.get(model, week.key).attributes["trained_week"] for week in WEEKS]
        for model in ("gbm_model", "totals_model", "lstm_model")
    }
    each = [week.key for week in WEEKS]
    assert trained == {"gbm_model": each, "totals_model": each, "lstm_model": [each[0]] * 3}


def test_weeks_from_before_are_scored(home: Home) -> None:
    home.run("score", "--week", WEEKS[0].key)
    landed, kept = (pd.read_csv(home.path / f"landing-{n}" / "sales_train_evaluation.csv") for n in (0, 2))
    scored = home.lake.get("forecast_accuracy", WEEKS[0].key).attributes["series"]
    assert scored in (len(landed), len(_series(landed) & _series(kept)))  # all, or those that the newest file still has
