"""A whole week through the command line: real jobs as processes, a real database, the lake's bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.load import read_forecast
from m5_assets.resources.postgres.server import EmbeddedServer
from m5_assets.sample import write_sample
from m5_assets.weeks import Week

WEEK = Week.parse("2016-04-18")
DATASETS = (
    "store_dept_sales",
    "features",
    "gbm_model",
    "lstm_model",
    "totals_model",
    "gbm_predictions",
    "lstm_predictions",
    "totals_forecast",
    "ensemble_weights",
    "ensemble_forecast",
)

pytestmark = pytest.mark.xdist_group("week")


@dataclass(frozen=True)
class Home:
    """A platform of its own: landing folder, lake, jobs, database, Dagster instance."""

    path: Path
    database_url: str = ""

    @property
    def lake(self) -> Lake:
        return Lake(root=str(self.path / "lake"))

    @property
    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith(("M5_", "DAGSTER_"))} | {
            "M5_HOME": str(self.path),
            "M5_DATABASE_URL": self.database_url,
            "M5_LAST_WEEK": "2016-05-16",
            "M5_HISTORY_WEEKS": "56",
            "M5_ALIGNMENT": "1",
            "M5_GBM_HYPERPARAMETERS": '{"iterations": "5", "department_iterations": "5"}',
            "M5_TOTALS_HYPERPARAMETERS": '{"trees_iterations": "5", "stack_iterations": "5"}',
            "M5_LSTM_HYPERPARAMETERS": '{"windows": "1024", "batch_size": "128", "hidden": "16", "encoder_days": "28"}',
        }

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("m5")), *arguments]

    def m5(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def run(self, *arguments: str) -> str:
        done = self.m5(*arguments)
        assert done.returncode == 0, done.stderr[-6000:]
        return done.stdout

    def hashes(self, dataset: str, week: Week) -> dict[str, str]:
        """SHA-256 of the partition's files by their names below the version, the model's archive included."""
        manifest = self.lake.get(dataset, week.key)
        folder = Lake.folder(dataset, week.key)
        found = {}
        for file in manifest.files:
            content = Path(self.lake.path(file.key)).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.sha256
            found[file.key.removeprefix(folder).split("/", 2)[2]] = file.sha256
        return found


def _cut_off(source: Path, target: Path, week: Week) -> None:
    """Copy the landed files as they were at the week's origin: no later sales, no price or day after the horizon."""
    target.mkdir(parents=True)
    calendar = pd.read_csv(source / "calendar.csv", dtype=str, keep_default_na=False)
    calendar = calendar[calendar["date"] <= week.last_forecast_day.isoformat()]
    known = calendar[calendar["date"] <= week.origin.isoformat()]["d"]
    calendar.to_csv(target / "calendar.csv", index=False)
    prices = pd.read_csv(source / "sell_prices.csv", dtype=str)
    prices[prices["wm_yr_wk"].isin(calendar["wm_yr_wk"])].to_csv(target / "sell_prices.csv", index=False)
    sales = pd.read_csv(source / "sales_train_evaluation.csv", dtype=str)
    sales = sales[[c for c in sales.columns if not c.startswith("d_") or c in set(known)]]
    sales.to_csv(target / "sales_train_evaluation.csv", index=False)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose landing folder holds four weeks more than the week that is forecast."""
    home = Home(tmp_path_factory.mktemp("later"))
    write_sample(home.path / "landing", items=8, weeks=57, seed=3)
    home.run("forecast", "--week", WEEK.key)
    yield home
    EmbeddedServer(home.path).stop()


@pytest.fixture(scope="module")
def cut(later: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose landing folder ends where the week's knowledge ends."""
    home = Home(tmp_path_factory.mktemp("cut"))
    _cut_off(later.path / "landing", home.path / "landing", WEEK)
    home.run("forecast", "--week", WEEK.key)
    yield home
    EmbeddedServer(home.path).stop()


def _rows(home: Home) -> pd.DataFrame:
    engine = PostgresResource(home=str(home.path)).engine()
    rows: pd.DataFrame = read_forecast(engine, WEEK.first_day).to_pandas()
    return rows


def test_a_week_depends_on_nothing_after_its_origin(later: Home, cut: Home) -> None:
    for dataset in DATASETS:
        assert later.hashes(dataset, WEEK) == cut.hashes(dataset, WEEK), dataset
    pd.testing.assert_frame_equal(_rows(later), _rows(cut))


def test_every_series_has_28_days_in_the_database(later: Home) -> None:
    rows = _rows(later)
    assert len(rows) == 8 * 10 * 28
    assert np.isfinite(rows[["gbm", "lstm", "ensemble"]].to_numpy()).all()
    assert (rows[["gbm", "lstm", "ensemble"]].to_numpy() >= 0).all()


def test_the_ensemble_sums_to_the_totals(later: Home) -> None:
    manifest = later.lake.get("totals_forecast", WEEK.key)
    totals = pd.read_parquet(later.lake.path(manifest.files[0].key)).set_index(["store_id", "dept_id", "date"])["units"]
    sums = _rows(later).groupby(["store_id", "dept_id", "date"], observed=True)["ensemble"].sum()
    np.testing.assert_allclose(sums.sort_index(), totals.sort_index(), rtol=1e-4)


def test_the_same_week_again_pays_for_no_job_and_changes_nothing(later: Home) -> None:
    before = {dataset: later.hashes(dataset, WEEK) for dataset in DATASETS}
    jobs = sorted(p.name for p in (later.path / "sagemaker" / "jobs").glob("*/*"))
    rows = _rows(later)
    later.run("forecast", "--week", WEEK.key)
    assert {dataset: later.hashes(dataset, WEEK) for dataset in DATASETS} == before
    assert sorted(p.name for p in (later.path / "sagemaker" / "jobs").glob("*/*")) == jobs
    pd.testing.assert_frame_equal(_rows(later), rows)


def test_the_week_is_scored_once_its_days_are_known(later: Home, cut: Home) -> None:
    later.run("score", "--week", WEEK.key)
    said = later.run("summary", "--week", WEEK.key, "--scored", WEEK.key)
    assert "rows in PostgreSQL     2,240 (80 series x 28 days)" in said
    for model in ("gbm", "lstm", "ensemble", "seasonal_naive"):
        assert model in said
    refused = cut.m5("score", "--week", WEEK.key)
    assert refused.returncode != 0
    assert "the sales through 2016-05-22 are not landed yet" in refused.stderr


def test_a_backtest_of_the_week_reports_its_accuracy(later: Home) -> None:
    report = later.run("backtest", "--origins", "1913")
    assert "Made by `m5 backtest --origins 1913`" in report
    assert "d_1913, 2016-04-24 | 2016-04-18 | 2016-05-22 | 80 | own" in report
    accuracy = later.lake.get("forecast_accuracy", WEEK.key)
    assert accuracy.inputs["ensemble_forecast"] == later.lake.get("ensemble_forecast", WEEK.key).digest
    assert later.run("backtest", "--origins", "1913") == report


def test_the_export_is_the_competitions_form(later: Home, tmp_path: Path) -> None:
    target = tmp_path / "forecast.csv"
    later.run("export", "--week", WEEK.key, "--suffix", "validation", "--output", str(target))
    frame = pd.read_csv(target)
    assert list(frame.columns) == ["id", *(f"F{i}" for i in range(1, 29))]
    assert len(frame) == 80
    assert frame["id"].str.endswith("_validation").all()


def test_a_week_that_was_not_landed_is_refused_by_name(cut: Home) -> None:
    refused = cut.m5("forecast", "--week", "2016-05-02")
    assert refused.returncode == 1
    assert "week 2016-05-02 is not in the landed sales file" in refused.stderr
    assert "2016-04-24" in refused.stderr


def test_lineage_names_what_a_partition_was_made_from(later: Home) -> None:
    manifest = later.lake.get("ensemble_forecast", WEEK.key)
    assert manifest.inputs == {
        "gbm_predictions": later.lake.get("gbm_predictions", WEEK.key).digest,
        "lstm_predictions": later.lake.get("lstm_predictions", WEEK.key).digest,
        "totals_forecast": later.lake.get("totals_forecast", WEEK.key).digest,
        "ensemble_weights": later.lake.get("ensemble_weights", WEEK.key).digest,
    }
    assert json.loads(Path(later.lake.path(f"ensemble_forecast/week={WEEK}/manifest.json")).read_text())["inputs"]
