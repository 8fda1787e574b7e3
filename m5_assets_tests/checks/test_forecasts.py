"""Tests that each check detects bad features, models, predictions, forecasts, scores and loads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from m5_assets.checks import accuracy, ensemble, ensemble_weights, features, models, rds, unit_rules, usual_sales
from m5_assets.checks.recording import Finding
from m5_assets.checks.usual_sales import Usual
from m5_assets.forecasting.history import DailyUnits
from m5_assets.resources.lake_manifests import LakeFile
from m5_assets.settings import CheckSettings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")
LIMITS = CheckSettings()
HORIZON = [WEEK.origin + dt.timedelta(days=i) for i in range(1, 29)]
_NAMES = ("lag_28", "price")


def _known(
    inputs: tuple[str, ...] = ("raw_sales/week=2016-05-16/a.parquet",),
    through: dt.date = WEEK.origin,
    horizon: list[dt.date] = HORIZON,
) -> Finding:
    return features.known_at_the_origin(WEEK, inputs, [WEEK.origin, through], horizon)


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (_known(inputs=("raw_sales/week=2016-05-16/a", "raw_sales/week=2016-05-23/a")), "1 files of later weeks"),
        (_known(through=WEEK.origin + dt.timedelta(days=1)), "known through 2016-05-23"),
        (_known(through=WEEK.origin - dt.timedelta(days=7)), "not through the origin"),
        (_known(horizon=HORIZON[:-1]), "2016-06-19 is missing"),
        (_known(horizon=[WEEK.origin, *HORIZON]), "2016-05-22 is missing or unexpected"),
        (features.schema(["item_id", "lag_28"], _NAMES), "no column cat_id"),
        (features.schema([*features._KEYS, *_NAMES, "leak"], _NAMES), "unknown column leak"),
        (
            features.complete(["CA_1", "TX_1"], {"panel": ["CA_1"], "horizon": ["CA_1", "TX_1"]}, 56, 2),
            "panel lacks TX_1",
        ),
        (features.complete(["CA_1"], {"panel": ["CA_1"], "horizon": ["CA_1"]}, 55, 2), "55 rows for the horizon of 2"),
    ],
)
def test_bad_features_are_detected(finding: Finding, words: str) -> None:
    assert not finding.passed
    assert words in finding.text


def test_good_features_pass() -> None:
    assert _known().passed
    assert features.schema([*features._KEYS, *_NAMES], _NAMES).passed
    assert features.complete(["CA_1"], {"panel": ["CA_1"], "horizon": ["CA_1"]}, 56, 2).passed


@pytest.mark.parametrize(("value", "passed"), [(1.0, True), (np.inf, False), (np.nan, False)])
def test_features_that_are_not_finite_are_detected(value: float, passed: bool) -> None:
    filled = {name: pa.array([1.0, 2.0], pa.float32()) for name in features._FILLED}
    since = {"days_since_release": pa.array([7.0, 7.0], pa.float32())}
    table = pa.table(filled | since | {"lag_28": pa.array([value, value], pa.float32())})
    counts = features.Finiteness(LIMITS.limit("missing_features"))
    counts.add(table)
    assert counts.finding().passed is passed
    assert passed or "lag_28" in counts.finding().text


def test_bad_models_are_detected() -> None:
    file = LakeFile("gbm_model/week=2016-05-16/model.tar.gz", 10, "0" * 64)
    assert models.archive_in_place(file, 10).passed
    assert not models.archive_in_place(file, 9).passed
    assert not models.archive_in_place(file, None).passed
    assert not models.archive_in_place(None, None).passed
    assert models.trained_on_the_past(WEEK, WEEK.shift(-3), WEEK.shift(-3).origin).passed
    assert not models.trained_on_the_past(WEEK, WEEK.shift(1), WEEK.shift(1).origin).passed
    assert not models.trained_on_the_past(WEEK, WEEK.shift(-3), WEEK.shift(-2).origin).passed
    assert models.age(WEEK, WEEK.shift(-8), LIMITS.limit("model_age_weeks")).passed
    assert not models.age(WEEK, WEEK.shift(-9), LIMITS.limit("model_age_weeks")).passed


def test_bad_weights_are_detected() -> None:
    assert ensemble_weights.shares({"lstm": 0.3, "alignment": 0.8}).passed
    assert not ensemble_weights.shares({"lstm": 1.01, "alignment": 0.8}).passed
    assert not ensemble_weights.shares({"lstm": 0.3, "alignment": float("nan")}).passed
    assert ensemble_weights.learnt_from_the_past(WEEK, [WEEK.shift(-8), WEEK.shift(-4)]).passed
    assert not ensemble_weights.learnt_from_the_past(WEEK, [WEEK.shift(-3)]).passed


@pytest.mark.parametrize("values", [[1.0, np.nan], [1.0, np.inf], [1.0, -0.01], []])
def test_invalid_units_are_detected(values: list[float]) -> None:
    assert unit_rules.finite_and_not_negative(np.array([0.0, 3.5]), "gbm").passed
    assert not unit_rules.finite_and_not_negative(np.array(values), "gbm").passed


@pytest.mark.parametrize(
    ("value", "passed"), [(100, True), (139, True), (61, True), (141, False), (59, False), (0, False)]
)
def test_a_total_outside_the_band_is_detected(value: float, passed: bool) -> None:
    assert (
        unit_rules.in_band(value, [100.0, 90.0, 110.0, 100.0], LIMITS.limit("volume_band"), "units a day").passed
        is passed
    )


def _forecast(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> pa.Table:
    series = pd.DataFrame(
        {"item_id": ["A", "B"], "dept_id": "F_1", "cat_id": "F", "store_id": ["CA_1", "TX_1"], "state_id": ["CA", "TX"]}
    )
    table = DailyUnits(series, HORIZON[0], np.ones((2, 28), np.float32)).table().rename_columns({"units": "ensemble"})
    return pa.Table.from_pandas(change(table.to_pandas()), preserve_index=False)


LIVE = pd.MultiIndex.from_tuples([("CA_1", "A"), ("TX_1", "B")])


def test_a_complete_forecast_passes() -> None:
    assert ensemble.complete(_forecast(), LIVE, WEEK).passed
    assert ensemble.model_columns(_forecast()) == ["ensemble"]


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.iloc[28:],
        lambda frame: frame.iloc[1:],
        lambda frame: pd.concat([frame, frame.iloc[:1]]),
        lambda frame: frame[frame["date"] != frame["date"].max()],
        lambda frame: frame.assign(date=frame["date"] + dt.timedelta(days=7)),
        lambda frame: frame.iloc[:0],
    ],
    ids=["a series", "a day of a series", "a day twice", "a day of all", "another week", "everything"],
)
def test_an_incomplete_forecast_is_detected(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    assert not ensemble.complete(_forecast(change), LIVE, WEEK).passed


def test_a_store_outside_the_band_is_detected() -> None:
    usual = {"CA_1": Usual(100.0, 100.0), "TX_1": Usual(50.0, 50.0)}
    assert usual_sales.plausible_stores(pd.Series({"CA_1": 130.0, "TX_1": 40.0}), usual, LIMITS).passed
    found = usual_sales.plausible_stores(pd.Series({"CA_1": 130.0, "TX_1": 5.0}), usual, LIMITS)
    assert not found.passed
    assert "TX_1: 0.10" in found.text
    assert not usual_sales.plausible_stores(pd.Series({"CA_1": 130.0}), usual, LIMITS).passed


def _scores(**wrmsse: float) -> pd.DataFrame:
    rows = [(model, level, 0, score) for model, score in wrmsse.items() for level in range(13)]
    return pd.DataFrame(rows, columns=["model", "level", "horizon_week", "wrmsse"])


GOOD = {"gbm": 0.58, "lstm": 0.60, "ensemble": 0.54, "seasonal_naive": 0.87}


def test_good_scores_pass() -> None:
    frame = _scores(**GOOD)
    assert accuracy.levels_complete(frame).passed
    assert accuracy.better_than_benchmark(accuracy.overall(frame)).passed
    assert accuracy.ensemble_not_worse([accuracy.overall(frame)], LIMITS.limit("ensemble_tolerance")).passed


def test_bad_scores_are_detected() -> None:
    frame = _scores(**GOOD)
    for bad in (
        frame[frame["level"] != 7],
        frame[frame["model"] != "seasonal_naive"],
        _scores(**GOOD | {"gbm": np.nan}),
        _scores(**GOOD | {"gbm": -0.1}),
    ):
        assert not accuracy.levels_complete(bad).passed
    assert not accuracy.better_than_benchmark(GOOD | {"ensemble": 0.88}).passed
    assert not accuracy.better_than_benchmark(GOOD | {"ensemble": np.nan}).passed
    worse = [GOOD, GOOD | {"ensemble": 0.70}]  # mean 0.62; the GBM has 0.58
    assert not accuracy.ensemble_not_worse(worse, LIMITS.limit("ensemble_tolerance")).passed
    assert accuracy.ensemble_not_worse([*worse, GOOD, GOOD, GOOD], LIMITS.limit("ensemble_tolerance")).passed


def test_a_database_that_differs_from_the_lake_is_detected() -> None:
    assert rds.same_rows((56, 100.001), (56, 100.0)).passed
    assert not rds.same_rows((55, 100.0), (56, 100.0)).passed
    assert not rds.same_rows((56, 101.0), (56, 100.0)).passed
    assert rds.same_scores(GOOD, GOOD).passed
    assert not rds.same_scores({}, GOOD).passed
    assert not rds.same_scores(GOOD | {"gbm": 0.59}, GOOD).passed
    assert rds.same_days((1969, WEEK.origin), (1969, WEEK.origin)).passed
    assert not rds.same_days((1968, WEEK.origin), (1969, WEEK.origin)).passed
    assert not rds.same_days((0, None), (1969, WEEK.origin)).passed
