"""Tests of a whole week through the command line, with real jobs as processes and a real database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m5_assets.resources.lake_manifests import DamagedFile, LakeFile
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.sample import write_sample
from m5_assets.weeks import Week
from m5_assets_tests.support.home import DATASETS, HISTORY_WEEKS, Home, cut_off

WEEK = Week.parse("2016-04-18")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Return a home with four landed weeks after the forecast week."""
    home = Home(tmp_path_factory.mktemp("later"))
    write_sample(home.path / "landing", items=8, weeks=HISTORY_WEEKS + 4, seed=3)
    home.run("forecast", "--week", WEEK.key)
    yield home
    EmbeddedServer(home.path).stop()


@pytest.fixture(scope="module")
def cut(later: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a home whose landed files end at the forecast week's origin."""
    home = Home(tmp_path_factory.mktemp("cut"))
    cut_off(later.path / "landing", home.path / "landing", WEEK)
    return home


def test_every_series_has_28_days_in_the_database(later: Home) -> None:
    rows = later.rows(WEEK)
    assert len(rows) == 8 * 10 * 28
    assert np.isfinite(rows[["gbm", "lstm", "ensemble"]].to_numpy()).all()
    assert (rows[["gbm", "lstm", "ensemble"]].to_numpy() >= 0).all()


def test_the_ensemble_sums_to_the_totals(later: Home) -> None:
    manifest = later.lake.get("totals_forecast", WEEK.key)
    totals = pd.read_parquet(later.lake.path(manifest.files[0].key)).set_index(["store_id", "dept_id", "date"])["units"]
    sums = later.rows(WEEK).groupby(["store_id", "dept_id", "date"], observed=True)["ensemble"].sum()
    np.testing.assert_allclose(sums.sort_index(), totals.sort_index(), rtol=1e-4)


def test_running_the_week_again_runs_no_job_and_changes_nothing(later: Home) -> None:
    before = {dataset: later.hashes(dataset, WEEK) for dataset in DATASETS}
    jobs = sorted(p.name for p in (later.path / "sagemaker" / "jobs").glob("*/*"))
    rows = later.rows(WEEK)
    later.run("forecast", "--week", WEEK.key)
    assert {dataset: later.hashes(dataset, WEEK) for dataset in DATASETS} == before
    assert sorted(p.name for p in (later.path / "sagemaker" / "jobs").glob("*/*")) == jobs
    pd.testing.assert_frame_equal(later.rows(WEEK), rows)


def test_the_week_is_scored_once_its_days_are_known(later: Home, cut: Home) -> None:
    later.run("score", "--week", WEEK.key)
    said = later.run("summary", "--week", WEEK.key, "--scored", WEEK.key)
    assert "rows in PostgreSQL     2,240 (80 series x 28 days)" in said
    for model in ("gbm", "lstm", "ensemble", "seasonal_naive"):
        assert model in said
    refused = cut.m5("score", "--week", WEEK.key)
    assert refused.returncode != 0
    assert "the sales through 2016-05-22 have not landed" in refused.stderr


def test_every_flipped_bit_of_the_lake_is_found(later: Home) -> None:
    lake, files = later.lake, defaultdict[str, list[LakeFile]](list)
    for dataset in [path.name for path in Path(lake.root).iterdir() if path.is_dir()]:
        partitions: list[str | None] = [*lake.partitions(dataset)]
        for partition in partitions or [None]:
            manifest = lake.find(dataset, partition)
            for file in manifest.files if manifest else ():
                files[f"{dataset} {Path(file.key).suffix}"].append(file)
    assert {name.split()[0] for name in files} >= {*DATASETS, "raw_sales", "sell_prices", "calendar"}
    draw = np.random.default_rng(2)
    for found in files.values():
        for _ in range(200):
            file = found[draw.integers(len(found))]
            path, place = Path(lake.path(file.key)), int(draw.integers(file.bytes))
            with path.open("r+b") as stream:
                stream.seek(place)
                [byte] = stream.read(1)
                stream.seek(place)
                stream.write(bytes([byte ^ 1 << int(draw.integers(8))]))
                stream.flush()
                with pytest.raises(DamagedFile, match=file.key):
                    lake.verify([file])
                stream.seek(place)
                stream.write(bytes([byte]))
        lake.verify(found)


def test_a_backtest_of_the_week_reports_its_accuracy(later: Home) -> None:
    report = later.run("backtest", "--origins", "1913")
    assert "Made by `m5 backtest --origins 1913`" in report
    assert "d_1913, 2016-04-24 | 2016-04-18 | 2016-05-22 | 80 | own" in report
    accuracy = later.lake.get("forecast_accuracy", WEEK.key)
    assert accuracy.inputs["ensemble_forecast"] == later.lake.get("ensemble_forecast", WEEK.key).digest
    assert later.run("backtest", "--origins", "1913") == report


def test_the_export_has_the_competitions_format(later: Home, tmp_path: Path) -> None:
    target = tmp_path / "forecast.csv"
    later.run("export", "--week", WEEK.key, "--suffix", "validation", "--output", str(target))
    frame = pd.read_csv(target)
    assert list(frame.columns) == ["id", *(f"F{i}" for i in range(1, 29))]
    assert len(frame) == 80
    assert frame["id"].str.endswith("_validation").all()


def test_a_week_that_has_not_landed_is_rejected_by_name(cut: Home) -> None:
    refused = cut.m5("forecast", "--week", "2016-05-02")
    assert refused.returncode == 1
    assert "week 2016-05-02 is not in the landed sales file" in refused.stderr
    assert "2016-04-24" in refused.stderr


def test_lineage_names_the_inputs_of_a_partition(later: Home) -> None:
    manifest = later.lake.get("ensemble_forecast", WEEK.key)
    assert manifest.inputs == {
        "gbm_predictions": later.lake.get("gbm_predictions", WEEK.key).digest,
        "lstm_predictions": later.lake.get("lstm_predictions", WEEK.key).digest,
        "totals_forecast": later.lake.get("totals_forecast", WEEK.key).digest,
        "ensemble_weights": later.lake.get("ensemble_weights", WEEK.key).digest,
    }
    assert json.loads(Path(later.lake.path(f"ensemble_forecast/week={WEEK}/manifest.json")).read_text())["inputs"]
