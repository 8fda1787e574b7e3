"""Tests of the GBM: accuracy, reproducibility, checkpoints and the rejection of invalid input."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from m5_assets.forecasting.contributions import mean_effects
from m5_assets.forecasting.features import MODEL_FEATURES, Context, horizon_table
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.gbm.matrix import BatchDataset, DiskMatrix
from m5_assets.forecasting.gbm.model import GBMModel
from m5_assets.forecasting.gbm.training import fit
from m5_assets.forecasting.gbm.training_rows import TrainingRows
from m5_assets.forecasting.panel import HORIZON, Panel, concat
from m5_assets_tests.support.panels import make_panel

SMALL = GBMConfig(
    sample_share=0.5,
    iterations=40,
    leaves=15,
    min_leaf_rows=20,
    department_iterations=20,
    department_leaves=7,
    department_min_leaf_rows=20,
    threads=1,
)
HELD_OUT = 28


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(seed=11, items=16, stores=3, days=250)


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def model(panel: Panel, steps: list[tuple[str, float]]) -> GBMModel:
    return fit(TrainingRows.draw([panel.rewind(HELD_OUT)], SMALL), lambda step, share: steps.append((step, share)))


def same_files(one: Path, other: Path) -> bool:
    """Return whether two folders contain files with the same names and bytes."""
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (one, other))
    return first == second


def test_interrupted_training_resumes_to_the_same_model(panel: Panel, model: GBMModel, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(step: str, _share: float) -> None:
        if step.startswith(model.departments[1]):
            raise Interrupted

    checkpoints = tmp_path / "checkpoints"
    with pytest.raises(Interrupted):
        fit(TrainingRows.draw([panel.rewind(HELD_OUT)], SMALL), interrupt, checkpoints)
    steps: list[str] = []
    resumed = fit(
        TrainingRows.draw([panel.rewind(HELD_OUT)], SMALL), lambda step, _share: steps.append(step), checkpoints
    )
    assert [step for step in steps if "checkpoint" in step] == [
        f"{name}: loaded from a checkpoint" for name in ("global", model.departments[0])
    ]
    model.save(tmp_path / "whole")
    resumed.save(tmp_path / "resumed")
    assert same_files(tmp_path / "whole", tmp_path / "resumed")


def test_another_training_runs_checkpoint_is_ignored(panel: Panel, tmp_path: Path) -> None:
    fit(TrainingRows.draw([panel.rewind(HELD_OUT)], SMALL), lambda *_: None, tmp_path)
    steps: list[str] = []
    fit(
        TrainingRows.draw([panel.rewind(HELD_OUT)], SMALL.model_copy(update={"seed": 2})),
        lambda step, _share: steps.append(step),
        tmp_path,
    )
    assert steps
    assert not [step for step in steps if "checkpoint" in step]


def forecast(model: GBMModel, panel: Panel) -> np.ndarray:
    context = Context.build(panel)
    units = [model.predict_frame(horizon_table(context, store)) for store in context.stores]
    return np.concatenate(units).reshape(-1, HORIZON)


def test_forecasts_beat_the_mean_of_the_last_four_weeks(panel: Panel, model: GBMModel) -> None:
    known = panel.rewind(HELD_OUT)
    truth = panel.sales[:, -HELD_OUT:]
    naive = known.sales[:, -28:].mean(axis=1, keepdims=True)
    assert ((forecast(model, known) - truth) ** 2).mean() < 0.9 * ((naive - truth) ** 2).mean()


def test_forecasts_are_zero_before_the_release_and_at_christmas(model: GBMModel, panel: Panel) -> None:
    back = (panel.origin - np.datetime64("2015-12-20")).days
    christmas = panel.rewind(back)
    units = forecast(model, christmas)
    assert (units >= 0).all()
    assert (units[:, 4] == 0).all()
    assert units[:, 3].sum() > 0
    unreleased = np.arange(christmas.days, christmas.days + HORIZON) < christmas.release[:, None]
    assert unreleased.any()
    assert (units[unreleased] == 0).all()


def test_a_store_that_opens_at_christmas_is_forecast(model: GBMModel, panel: Panel) -> None:
    stores = panel.series["store_id"].to_numpy(str)
    first = panel.rewind((panel.origin - np.datetime64("2015-12-20")).days)
    opened = dataclasses.replace(first, closed=first.closed.only(stores[:1]))
    units = forecast(model, opened)
    assert (units[stores == stores[0], 4] == 0).all()
    assert units[stores != stores[0], 4].sum() > 0
    usual = forecast(model, first)
    assert np.array_equal(np.delete(units, 4, axis=1), np.delete(usual, 4, axis=1))


def test_training_rows_are_on_sale_and_never_at_christmas(panel: Panel) -> None:
    context = Context.build(panel)
    drawn = TrainingRows.draw([panel], SMALL)
    rows = drawn.rows
    dates = context.dates[rows.day].astype(str)
    assert rows.day.max() < panel.days
    assert (rows.origin >= 0).all()
    assert (rows.day >= context.release[rows.series]).all()
    assert not [date for date in dates if date.endswith("12-25")]
    assert set(np.unique(rows.horizon)) == set(range(1, HORIZON + 1))
    codes = context.codes["dept"][rows.series]
    assert [np.unique(codes[part]).tolist() for part in drawn.of_departments] == [
        [c] for c in range(len(drawn.departments))
    ]


def test_max_rows_limits_the_rows_drawn(panel: Panel) -> None:
    many = len(TrainingRows.draw([panel], SMALL))
    few = len(TrainingRows.draw([panel], SMALL.model_copy(update={"max_rows": many // 4})))
    assert 0.8 * many / 4 < few < 1.05 * many / 4
    assert len(TrainingRows.draw([panel], SMALL.model_copy(update={"max_rows": 10 * many}))) == many


def test_training_by_store_gives_the_same_model(panel: Panel, model: GBMModel, tmp_path: Path) -> None:
    stores = [part for _, part in panel.rewind(HELD_OUT).stores()]
    assert len(stores) == 3
    fit(TrainingRows.draw(stores, SMALL), lambda *_: None).save(tmp_path / "by_store")
    model.save(tmp_path / "at_once")
    assert same_files(tmp_path / "by_store", tmp_path / "at_once")
    assert mean_effects(model, TrainingRows.draw(stores, SMALL)) == mean_effects(
        model, TrainingRows.draw([panel.rewind(HELD_OUT)], SMALL)
    )


def test_panels_of_different_days_are_rejected(panel: Panel) -> None:
    (_, first), (_, second), _ = panel.stores()
    with pytest.raises(ValueError, match="panels of different days"):
        fit(TrainingRows.draw([first, second.rewind(1)], SMALL), lambda *_: None)


def test_panels_that_can_be_read_only_once_are_rejected(panel: Panel) -> None:
    once = (part for _, part in panel.stores())
    with pytest.raises(ValueError, match="3 panels, but only 0 could be read again"):
        fit(TrainingRows.draw(once, SMALL), lambda *_: None)


def test_training_from_disk_equals_training_from_memory() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(260_000, 4)).astype(np.float32)  # more than LightGBM samples for its bins
    values[:, 1] = np.where(rng.random(len(values)) < 0.5, np.nan, 0)
    values[:, 2] = np.arange(len(values)) < 9  # a feature that min_leaf_rows makes useless
    units = rng.poisson(np.exp(values[:, 0])).astype(np.float32)
    parameters = SMALL.model_copy(update={"min_leaf_rows": 200}).booster_parameters(31, 200)
    with DiskMatrix(len(values), 4) as matrix:
        for first in (100_000, 0):
            matrix.write(first, values[first : first + (160_000 if first else 100_000)])
        datasets = BatchDataset(matrix.part(0, len(values)), units), lgb.Dataset(values, units)
        found = [lgb.train(parameters, dataset, num_boost_round=5).model_to_string() for dataset in datasets]
    assert found[0] == found[1]


def test_a_matrix_too_large_for_the_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        OSError, match=rf"{tmp_path} has .* free, but the training rows need 4,000,000.0 GB; free some space"
    ):
        DiskMatrix(10**12, 1000)
    with DiskMatrix(4, 2) as matrix:
        assert not list(tmp_path.iterdir())  # nothing can be left behind
        matrix.write(2, np.array([[5, 6], [7, np.nan]], np.float32))
        assert matrix.read(2, 3).tolist() == [[5, 6]]
        assert np.isnan(matrix.part(1, 4)[2][1])
        with pytest.raises(EOFError, match="rows 3 to 5 are not in the matrix of 4"):
            matrix.read(3, 5)


def test_later_sales_do_not_change_the_model_files(panel: Panel, model: GBMModel, tmp_path: Path) -> None:
    later = dataclasses.replace(panel, sales=panel.sales.copy())
    later.sales[:, -HELD_OUT:] = 99.0
    fit(TrainingRows.draw([later.rewind(HELD_OUT)], SMALL), lambda step, share: None).save(tmp_path / "again")
    model.save(tmp_path / "first")
    assert len(list((tmp_path / "first").iterdir())) == 6
    assert same_files(tmp_path / "first", tmp_path / "again")


def test_a_loaded_model_forecasts_the_same(panel: Panel, model: GBMModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = GBMModel.load(tmp_path)
    np.testing.assert_array_equal(forecast(loaded, panel), forecast(model, panel))
    assert (loaded.config, loaded.features, loaded.stores) == (SMALL, MODEL_FEATURES, model.stores)
    assert loaded.trained_through == "2016-01-31"
    assert loaded.training_rows == model.training_rows > 1000


def test_progress_names_every_member_and_grows_to_one(model: GBMModel, steps: list[tuple[str, float]]) -> None:
    for name in model.boosters:
        assert any(step.startswith(f"{name}: ") for step, _ in steps)
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(1)


def test_importance_is_sorted_and_sums_to_one(model: GBMModel) -> None:
    shares = list(model.importance().values())
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    assert shares == sorted(shares, reverse=True)
    assert set(model.importance()) == set(MODEL_FEATURES)


@pytest.mark.parametrize("family", ["global", "departments"])
def test_the_family_determines_the_members(panel: Panel, family: str) -> None:
    config = GBMConfig.from_hyperparameters(
        {"family": family, "iterations": "3", "department_iterations": "3", "sample_share": "0.2", "threads": "1"}
    )
    model = fit(TrainingRows.draw([panel], config), lambda step, share: None)
    assert ("global" in model.boosters) == (family == "global")
    assert forecast(model, panel).sum() > 0


def test_a_department_that_is_not_yet_on_sale_is_forecast_by_the_global_member(panel: Panel, tmp_path: Path) -> None:
    department = panel.series["dept_id"].iloc[0]
    own = (panel.series["dept_id"] == department).to_numpy()
    tomorrow = dataclasses.replace(panel, release=np.where(own, panel.days, panel.release).astype(np.int32))
    small = SMALL.model_copy(update={"iterations": 3, "department_iterations": 3})
    model = fit(TrainingRows.draw([tomorrow], small), lambda step, share: None)
    assert department not in model.boosters
    model.save(tmp_path)
    forecasts = forecast(GBMModel.load(tmp_path), tomorrow)
    assert forecasts[own].sum() > 0
    alone = dataclasses.replace(model, boosters={"global": model.boosters["global"]}, config=GBMConfig(family="global"))
    np.testing.assert_array_equal(forecasts[own], forecast(alone, tomorrow)[own])
    assert sum(mean_effects(model, TrainingRows.draw([tomorrow], small)).values()) > 0
    with pytest.raises(ValueError, match=f"{department}.*had no sales on the training days; train with family=both"):
        fit(TrainingRows.draw([tomorrow], small.model_copy(update={"family": "departments"})), lambda step, share: None)


def test_a_department_on_offer_without_a_sale_is_forecast_by_the_global_member(panel: Panel) -> None:
    department = panel.series["dept_id"].iloc[0]
    own = (panel.series["dept_id"] == department).to_numpy()
    unsold = dataclasses.replace(panel, sales=np.where(own[:, None], 0, panel.sales).astype(np.float32))
    small = SMALL.model_copy(update={"iterations": 3, "department_iterations": 3})
    model = fit(TrainingRows.draw([unsold], small), lambda step, share: None)
    assert department not in model.boosters
    assert np.isfinite(forecast(model, unsold)).all()


def test_a_department_too_new_for_a_tree_of_its_own_is_forecast_by_the_global_member(panel: Panel) -> None:
    department = panel.series["dept_id"].iloc[0]
    own = (panel.series["dept_id"] == department).to_numpy()
    new = dataclasses.replace(panel, release=np.where(own, panel.days - 7, panel.release).astype(np.int32))
    small = SMALL.model_copy(update={"iterations": 3, "department_iterations": 3, "department_min_leaf_rows": 100})
    rows = TrainingRows.draw([new], small)
    assert 0 < len(range(*rows.of_departments[rows.departments.index(department)].indices(len(rows)))) < 200
    model = fit(rows, lambda step, share: None)
    assert set(model.departments) - set(model.boosters) == {department}
    assert forecast(model, new)[own].sum() > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"leafs": "3"}, "unknown hyperparameters: leafs"),
        ({"leaves": "many"}, "leaves='many': .* integer"),
        ({"learning_rate": "0"}, "learning_rate='0': .* greater than 0"),
        ({"tweedie_power": "2.5"}, "tweedie_power='2.5': .* less than 2"),
        ({"family": "stores"}, "family='stores': .* 'both', 'global' or 'departments'"),
        ({"iterations": "0"}, "iterations='0': .* greater than or equal to 1"),
        ({"leaves": "1"}, "leaves='1': .* greater than or equal to 2"),
    ],
)
def test_invalid_hyperparameters_are_rejected(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GBMConfig.from_hyperparameters(given)


def test_hyperparameters_are_read_from_strings() -> None:
    config = GBMConfig.from_hyperparameters({"learning_rate": "0.05", "leaves": "31"})
    assert config == GBMConfig(learning_rate=0.05, leaves=31)


def test_a_panel_too_short_is_rejected() -> None:
    with pytest.raises(ValueError, match="training needs more than 56"):
        fit(TrainingRows.draw([make_panel(1, 4, 1, 50)], SMALL), lambda step, share: None)


def test_a_model_with_other_features_is_rejected(model: GBMModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    path = tmp_path / "gbm.json"
    text = json.loads(path.read_text())
    path.write_text(json.dumps({**text, "features": ["no_such_feature", *text["features"][1:]]}))
    with pytest.raises(ValueError, match="no_such_feature"):
        GBMModel.load(tmp_path)
    path.write_text(json.dumps({**text, "features": text["features"][::-1]}))
    with pytest.raises(ValueError, match=r"its features are not those of gbm\.json"):
        GBMModel.load(tmp_path)
    path.write_text(json.dumps({**text, "config": {"no_such_setting": 1}}))
    with pytest.raises(ValueError, match="cannot be read"):
        GBMModel.load(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="train one first"):
        GBMModel.load(tmp_path)


def test_a_feature_file_that_does_not_match_is_rejected(panel: Panel, model: GBMModel) -> None:
    table = horizon_table(Context.build(panel), "CA_1")
    with pytest.raises(ValueError, match="feature columns are missing: price"):
        model.predict_frame(table.drop_columns(["price"]))
    with pytest.raises(ValueError, match="needs 56 features"):
        model.predict(np.zeros((2, 3), np.float32), np.array(["FOODS_1", "FOODS_1"]))


def test_stores_with_other_codes_than_in_training_are_rejected(panel: Panel, model: GBMModel) -> None:
    fewer = concat([part for store, part in panel.stores() if store != "CA_1"])
    with pytest.raises(ValueError, match="have changed since it was trained"):
        forecast(model, fewer)
