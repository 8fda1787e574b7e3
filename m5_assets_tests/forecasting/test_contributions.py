"""Tests of the GBM's explanation: factors by feature and by family that multiply to the forecast."""

from __future__ import annotations

import numpy as np
import pytest

from m5_assets.forecasting.contributions import explain, mean_effects
from m5_assets.forecasting.features import CATALOGUE, MODEL_FEATURES, Context, horizon_table
from m5_assets.forecasting.gbm.config import Family
from m5_assets.forecasting.gbm.model import GBMModel
from m5_assets.forecasting.gbm.training import fit
from m5_assets.forecasting.gbm.training_rows import TrainingRows
from m5_assets.forecasting.panel import Panel
from m5_assets_tests.forecasting.test_gbm import SMALL
from m5_assets_tests.support.panels import make_panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(seed=11, items=12, stores=2, days=250)


@pytest.fixture(scope="module")
def model(panel: Panel) -> GBMModel:
    return fit(TrainingRows.draw([panel], SMALL), lambda step, share: None)


def test_base_times_all_factors_is_the_forecast(panel: Panel, model: GBMModel) -> None:
    table = horizon_table(Context.build(panel), "CA_1")
    found = explain(model, table)
    np.testing.assert_array_equal(found.units, model.predict_frame(table))
    np.testing.assert_allclose(found.base * np.exp(found.logs).prod(axis=1), found.units, rtol=1e-5)
    families = found.families()
    assert set(families) == {feature.family for feature in CATALOGUE if feature.name in MODEL_FEATURES}
    np.testing.assert_allclose(families.sum(axis=1), found.logs.sum(axis=1))
    rolling = [place for place, name in enumerate(MODEL_FEATURES) if name.startswith("rolling_")]
    np.testing.assert_allclose(families["rolling"], found.logs[:, rolling].sum(axis=1))


@pytest.mark.parametrize("family", ["global", "departments"])
def test_each_booster_has_one_base_for_all_its_rows(panel: Panel, family: Family) -> None:
    """The base is the booster's expected value; everything else is in the row's factors."""
    config = SMALL.model_copy(update={"family": family, "iterations": 5, "department_iterations": 5})
    found = explain(
        fit(TrainingRows.draw([panel], config), lambda step, share: None),
        table := horizon_table(Context.build(panel), "CA_1"),
    )
    departments = np.array(table["dept_id"].to_pylist())
    sold = found.units > 0
    bases = {name: found.base[sold & (departments == name)] for name in np.unique(departments)}
    for base in bases.values():
        np.testing.assert_allclose(base, base[0], rtol=1e-4)
    distinct = {round(float(base[0]), 4) for base in bases.values()}
    assert len(distinct) == (1 if family == "global" else len(bases))


def test_a_zero_forecast_has_a_zero_base(panel: Panel, model: GBMModel) -> None:
    back = (panel.origin - np.datetime64("2015-12-20")).days
    found = explain(model, horizon_table(Context.build(panel.rewind(back)), "CA_1"))
    assert (found.units == 0).any()
    assert (found.base[found.units == 0] == 0).all()


def test_mean_effects_are_sorted_and_deterministic(panel: Panel, model: GBMModel) -> None:
    effects = mean_effects(model, TrainingRows.draw([panel], SMALL))
    assert list(effects.values()) == sorted(effects.values(), reverse=True)
    assert {"rolling", "price", "calendar"} <= set(effects)
    assert next(iter(effects.values())) > 0.1
    assert mean_effects(model, TrainingRows.draw([panel], SMALL)) == effects
