"""Tests of when a model is in force: age, recipe, and the stores and departments that it must fit."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from m5_assets.assets.models import last_model, shown_when_trained, why_train
from m5_assets.forecasting.totals.daily_totals import TotalsHistory, write_totals
from m5_assets.model_specs import MODELS
from m5_assets.readers.groups import Groups, groups_of
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.weeks import Week
from m5_assets_tests.support.panels import make_panel

WEEK = Week.parse("2016-05-16")
SPECS = {spec.name: spec for spec in MODELS}
OLD = (("CA_1", "FOODS_1"), ("CA_1", "FOODS_3"), ("TX_1", "FOODS_1"), ("TX_1", "FOODS_3"))
STORE = (*OLD, ("WI_1", "FOODS_1"))
DEPARTMENT = (*OLD, ("TX_1", "HOBBIES_1"))
COMBINATION = OLD[:3]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path))


def _groups(lake: Lake, model: str, pairs: tuple[tuple[str, str], ...]) -> Groups:
    """Return the groups that a model must fit in a week of these store-departments."""
    frame = pd.DataFrame(
        [(store, dept, dept.split("_")[0], store[:2]) for store, dept in pairs],
        columns=["store_id", "dept_id", "cat_id", "state_id"],
    )
    calendar = make_panel(seed=1, items=1, stores=1, days=2).calendar
    with lake.staging() as staged:
        (staged / "totals").mkdir()
        totals = TotalsHistory.learned(frame, np.zeros((len(frame), 2), np.float32), calendar)
        write_totals(totals, staged / "totals/t.parquet")
        features = lake.publish("features", WEEK.key, staged, inputs={}, attributes={})
    return groups_of(lake, features, SPECS[model].fits)


def _model(groups: Groups, age: int = 1, recipe: str = "same") -> Manifest:
    attributes = {"trained_week": WEEK.shift(-age).key, "recipe": recipe, "groups": groups}
    return Manifest("model", WEEK.shift(-1).key, (), {}, attributes)


@pytest.mark.parametrize(
    ("model", "pairs", "reason"),
    [
        ("gbm", OLD, ""),
        ("gbm", STORE, "new store_id WI_1"),
        ("gbm", DEPARTMENT, "new dept_id HOBBIES_1"),
        ("gbm", OLD[:2], "left store_id TX_1"),
        ("gbm", COMBINATION, ""),  # a store and a department that it knows
        ("totals", OLD, ""),
        ("totals", STORE, "new store_id/dept_id WI_1/FOODS_1"),
        ("totals", DEPARTMENT, "new store_id/dept_id TX_1/HOBBIES_1"),
        ("totals", COMBINATION, "left store_id/dept_id TX_1/FOODS_3"),
        ("lstm", STORE, ""),  # its embeddings have a word for what they do not know
        ("lstm", DEPARTMENT, ""),
    ],
)
def test_a_model_is_retrained_if_it_does_not_fit_the_weeks_groups(
    lake: Lake, model: str, pairs: tuple[tuple[str, str], ...], reason: str
) -> None:
    last = _model(_groups(lake, model, OLD))
    found = why_train(last, WEEK, "same", _groups(lake, model, pairs), cadence_weeks=4)
    assert found == (f"the last model was trained on other stores or departments: {reason}" if reason else "")


def test_many_changed_groups_are_counted() -> None:
    last = _model({"store_id": ["CA_1"]})
    found = why_train(last, WEEK, "same", {"store_id": [f"TX_{n}" for n in range(1, 6)]}, cadence_weeks=4)
    assert found.endswith("new store_id TX_1, TX_2, TX_3 and 2 more; left store_id CA_1")


def test_age_and_recipe_decide_as_well() -> None:
    groups = {"store_id": ["CA_1"]}
    assert why_train(None, WEEK, "same", groups, 4) == "no earlier week has a model"
    assert not why_train(_model(groups, age=3), WEEK, "same", groups, 4)
    assert "is 4 weeks old" in why_train(_model(groups, age=4), WEEK, "same", groups, 4)
    assert "hyperparameters have changed" in why_train(_model(groups), WEEK, "other", groups, 4)


def test_only_models_of_earlier_weeks_are_considered(lake: Lake) -> None:
    for week in (WEEK.shift(-2), WEEK, WEEK.shift(1)):
        lake.commit(Manifest("gbm_model", week.key, (), {}, {"trained_week": week.key}))
    last = last_model(lake, "gbm_model", WEEK)
    assert last is not None
    assert last.partition == WEEK.shift(-2).key
    assert last_model(lake, "gbm_model", WEEK.shift(-2)) is None


def test_a_model_carried_forward_shows_the_figures_of_its_training() -> None:
    key = dg.AssetKey("gbm_model")
    with dg.DagsterInstance.ephemeral() as instance:
        for week, rmse in (("2016-04-18", 1.5), ("2016-05-16", 2.5)):
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=week, metadata={"rmse": rmse}))
        assert shown_when_trained(instance, key, "2016-04-18") == {"rmse": dg.FloatMetadataValue(1.5)}
        assert shown_when_trained(instance, key, "2016-04-25") == {}
