"""Tests of `m5 explain` with a real lake: series, days, and what it rejects."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from m5_assets.cli.main import cli
from m5_assets.forecasting.features import Context, write_horizon
from m5_assets.forecasting.gbm.model import GBMModel
from m5_assets.forecasting.gbm.training import fit
from m5_assets.forecasting.gbm.training_rows import TrainingRows
from m5_assets.forecasting.panel import Panel
from m5_assets.resources.lake import Lake
from m5_assets.settings import settings
from m5_assets_tests.forecasting.test_gbm import SMALL
from m5_assets_tests.support.panels import ORIGIN, make_panel

WEEK = "2016-02-22"


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(seed=11, items=12, stores=2, days=200)


@pytest.fixture(scope="module")
def model(panel: Panel) -> GBMModel:
    return fit(TrainingRows.draw([panel], SMALL), lambda step, share: None)


@pytest.fixture
def home(panel: Panel, model: GBMModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("M5_HOME", str(tmp_path))
    settings.cache_clear()
    lake = Lake(root=str(tmp_path / "lake"))
    with lake.staging() as staged:
        (staged / "horizon").mkdir()
        context = Context.build(panel)
        for store in context.stores:
            write_horizon(context, store, staged / "horizon" / f"{store}.parquet")
        lake.publish("features", WEEK, staged, inputs={}, attributes={})
    model.save(tmp_path / "model")
    with lake.staging() as staged:
        with tarfile.open(staged / "model.tar.gz", "w:gz") as archive:
            for path in sorted((tmp_path / "model").iterdir()):
                archive.add(path, path.name)
        lake.publish("gbm_model", WEEK, staged, inputs={}, attributes={})
    yield tmp_path
    settings.cache_clear()


def _explain(item: str, store: str, *more: str, week: str = WEEK) -> Result:
    return CliRunner().invoke(cli, ["explain", "--week", week, "--item", item, "--store", store, *more])


def _factors(text: str) -> float:
    lines = [line.split() for line in text.splitlines()]
    return float(np.prod([float(words[2]) for words in lines if len(words) == 3 and words[1] == "x"]))


def test_a_days_factors_multiply_to_the_forecast(home: Path, panel: Panel) -> None:
    item = panel.series["item_id"].iloc[0]
    done = _explain(item, "CA_1", "--date", "2016-03-05")
    assert done.exit_code == 0, done.output
    head, base = done.output.splitlines()[:2]
    assert head.startswith(f"{item} in CA_1: the GBM of week {WEEK} forecasts ")
    assert "on 2016-03-05." in head
    forecast = float(head.split("forecasts ")[1].split()[0])
    begin = float(base.split("begins with ")[1].split()[0])
    assert begin * _factors(done.output) == pytest.approx(forecast, rel=0.1)  # the output has two decimals
    assert "mean of y over the" in done.output


def test_without_a_day_it_is_the_mean_of_the_28(home: Path, panel: Panel) -> None:
    done = _explain(panel.series["item_id"].iloc[0], "CA_1")
    assert f"a day, mean of {(ORIGIN + np.timedelta64(1, 'D')).date()} to 2016-03-27." in done.output
    assert "rolling" in done.output


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("FOODS_9_999", "CA_1"), "item 'FOODS_9_999' is not in store CA_1"),
        (("FOODS_1_001", "NY_1"), "store 'NY_1' is not in the forecast of week 2016-02-22; its stores are CA_1, CA_2"),
        (("FOODS_1_000", "CA_1", "--date", "2016-05-05"), "its days are 2016-02-29 to 2016-03-27"),
    ],
)
def test_items_without_a_forecast_are_rejected_by_name(
    home: Path, panel: Panel, given: tuple[str, ...], message: str
) -> None:
    first, *rest = given
    done = _explain(panel.series["item_id"].iloc[0] if first == "FOODS_1_000" else first, *rest)
    assert done.exit_code == 1
    assert message in str(done.exception or done.output)


def test_a_week_without_a_model_is_rejected(home: Path) -> None:
    done = _explain("FOODS_1_001", "CA_1", week="2016-03-21")
    assert done.exit_code == 1
    assert "run `m5 forecast --week 2016-03-21`" in str(done.exception or done.output)
