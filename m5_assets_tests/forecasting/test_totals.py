"""Tests of the totals model: accuracy, reproducibility, independence of later sales, and its files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest

from m5_assets.forecasting.closed_days import ClosedDays
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals import ridge
from m5_assets.forecasting.totals.config import TotalsConfig
from m5_assets.forecasting.totals.daily_totals import TotalsHistory, group_codes, read_totals, write_totals
from m5_assets.forecasting.totals.level_correction import correction
from m5_assets.forecasting.totals.model import (
    RIDGE,
    WEEKDAY,
    TotalsModel,
    fit,
    same_weekday_mean,
    training_origins,
)
from m5_assets.forecasting.totals.regressors import Builder
from m5_assets_tests.support.panels import make_panel

SMALL = TotalsConfig(trees_iterations=60, stack_iterations=30, leaves=15, min_leaf_rows=20, threads=1)


def make_history(days: int, stores: int = 3) -> TotalsHistory:
    """Return totals with a weekday profile, SNAP days, a yearly season and no sales on 25 December."""
    panel = make_panel(seed=5, items=80, stores=stores, days=days)
    history = TotalsHistory.of_series(panel.series, panel.sales, panel.calendar)
    phase = 2 * np.pi * panel.calendar["date"].dt.day_of_year.to_numpy()[:days] / 365.25
    season = 1 + 0.3 * np.sin(phase)
    return dataclasses.replace(history, units=(history.units * season).astype(np.float32))


def quiet(step: str, share: float) -> None:
    assert step
    assert 0 <= share <= 1


@pytest.fixture(scope="module")
def history() -> TotalsHistory:
    return make_history(days=900)


@pytest.fixture(scope="module")
def model(history: TotalsHistory) -> TotalsModel:
    return fit(history.rewind(HORIZON), SMALL, quiet)


def error(forecast: np.ndarray, history: TotalsHistory) -> float:
    return float(np.square(forecast - history.units[:, -HORIZON:]).mean())


def test_every_member_and_the_blend_beat_the_same_weekday_mean(history: TotalsHistory, model: TotalsModel) -> None:
    known = history.rewind(HORIZON)
    naive = error(same_weekday_mean(known), history)
    members = model.members_forecast(known)
    assert len(members) == 4
    for forecast in members.values():
        assert error(forecast, history) < 0.9 * naive
    mean = np.mean(list(members.values()), axis=0)
    np.testing.assert_allclose(model.predict(known), mean * model.level, rtol=1e-5)
    assert error(model.predict(known), history) < 0.8 * naive


def test_half_of_the_recent_bias_is_corrected(history: TotalsHistory) -> None:
    days, asked = history.days, []

    def low(known: TotalsHistory) -> npt.NDArray[np.float32]:
        asked.append(known.days)
        return (history.units[:, known.days : known.days + HORIZON] / 1.06).astype(np.float32)

    assert correction(history, low) == pytest.approx(1.06**0.5, rel=1e-5)
    assert asked == [days - 112, days - 84, days - 56, days - 28]
    christmas = days - 56
    unlucky = correction(history, lambda known: low(known) * np.float32(0.6 if known.days == christmas else 1))
    assert unlucky == pytest.approx(1.06**0.5, rel=1e-5)
    assert correction(history, lambda known: low(known) * np.float32(0.5)) == 1.05
    assert correction(history, lambda known: low(known) * np.float32(3)) == pytest.approx(1 / 1.05)
    assert correction(history, lambda known: low(known) * np.float32(0)) == 1


def test_unexpected_growth_raises_the_level(history: TotalsHistory, model: TotalsModel) -> None:
    assert 0.97 < model.level < 1.03
    units = history.units.copy()
    units[:, -140:] *= np.linspace(1, 2, 140, dtype=np.float32)
    grown = fit(dataclasses.replace(history, units=units), SMALL, quiet)
    assert 1.02 < grown.level <= 1.05


def test_a_short_history_is_not_rehearsed() -> None:
    known = make_history(days=839, stores=1)
    assert fit(known, SMALL, quiet).level == 1


def test_christmas_is_zero_and_the_days_around_it_are_not(history: TotalsHistory) -> None:
    before = history.rewind((history.origin - np.datetime64("2015-12-06")).days)
    model = fit(before, SMALL, quiet)
    christmas = int((np.datetime64("2015-12-25") - before.origin.to_datetime64()) / np.timedelta64(1, "D")) - 1
    for forecast in (*model.members_forecast(before).values(), same_weekday_mean(before), model.predict(before)):
        assert (forecast[:, christmas] == 0).all()
        assert (np.delete(forecast, christmas, axis=1) > 0).all()


def test_a_store_that_sells_on_christmas_day_is_forecast_and_the_others_are_not(history: TotalsHistory) -> None:
    units, dates = history.units.copy(), history.dates[: history.days]
    first = (history.groups["store_id"] == history.groups["store_id"].iloc[0]).to_numpy()
    opened = np.char.endswith(dates.astype(str), "12-25")
    units[np.ix_(first, opened)] = units[np.ix_(first, np.roll(opened, -7))]
    changed = TotalsHistory.learned(history.groups, units, history.calendar)
    before = changed.rewind((history.origin - np.datetime64("2015-12-06")).days)
    known = TotalsHistory.learned(before.groups, before.units, before.calendar)
    assert known.closed_days == ClosedDays.join([before.closed_days])
    christmas = int((np.datetime64("2015-12-25") - known.origin.to_datetime64()) / np.timedelta64(1, "D")) - 1
    model = fit(known, SMALL, quiet)
    for forecast in (*model.members_forecast(known).values(), same_weekday_mean(known), model.predict(known)):
        assert (forecast[~first, christmas] == 0).all()
        ratio = forecast[first, christmas] / forecast[first, christmas - 7]
        assert ((ratio > 0.5) & (ratio < 2)).all()


def test_later_sales_do_not_change_a_forecast(history: TotalsHistory, model: TotalsModel) -> None:
    known = history.rewind(HORIZON)
    cut = TotalsHistory.learned(
        known.groups.copy(),
        known.units.copy(),
        pd.DataFrame(known.calendar.to_dict(orient="list")).astype(known.calendar.dtypes),
    )
    units = history.units.copy()
    units[:, known.days :] = 1e6
    changed = dataclasses.replace(history, units=units).rewind(HORIZON)
    again = fit(changed, SMALL, quiet)
    for member, booster in model.boosters.items():
        assert booster.model_to_string() == again.boosters[member].model_to_string()
    assert model.predict(cut).tobytes() == again.predict(changed).tobytes()


def test_features_of_an_origin_do_not_depend_on_later_days(history: TotalsHistory) -> None:
    origin = history.days - 200
    late = Builder(history).build(np.array([origin]))
    then = Builder(history.rewind(200)).build(np.array([origin]))
    np.testing.assert_array_equal(late.matrix, then.matrix)


def test_a_model_forecasts_later_weeks_but_rejects_earlier_ones(history: TotalsHistory, model: TotalsModel) -> None:
    assert model.predict(history).shape == (len(history.groups), HORIZON)
    with pytest.raises(ValueError, match="use an older model"):
        model.predict(history.rewind(HORIZON + 1))


@pytest.mark.parametrize("days", [112, 300, 440])
def test_short_histories_stay_near_the_recent_level(days: int) -> None:
    long = make_history(days=days + HORIZON, stores=2)
    known = long.rewind(HORIZON)
    model = fit(known, SMALL, quiet)
    assert WEEKDAY in model.members_forecast(known)
    forecast = model.predict(known)
    assert (forecast >= 0).all()
    ratio = forecast.sum(axis=1) / long.units[:, -HORIZON:].sum(axis=1)
    assert ((ratio > 0.6) & (ratio < 1.7)).all()
    with pytest.raises(ValueError, match="it needs at least 112"):
        fit(known.rewind(known.days - 111), SMALL, quiet)


def test_a_department_without_sales_is_forecast_as_zero() -> None:
    history = make_history(days=200, stores=1)
    units = history.units.copy()
    units[0] = 0
    empty = dataclasses.replace(history, units=units)
    forecast = fit(empty, SMALL, quiet).predict(empty)
    assert np.isfinite(forecast).all()
    assert forecast[0].max() < 1
    assert forecast[1:].min() > 0


@pytest.mark.parametrize("days", [1, 7, 20])
def test_a_store_that_opened_in_the_last_weeks_is_forecast_at_its_level(
    history: TotalsHistory, model: TotalsModel, days: int
) -> None:
    known = history.rewind(HORIZON)
    own = (known.groups["store_id"] == "TX_1").to_numpy()
    units = known.units.copy()
    units[own, :-days] = 0
    found = model.predict(dataclasses.replace(known, units=units))
    ratio = found[own].sum(axis=1) / history.units[own, -HORIZON:].sum(axis=1)
    share = min(days / 7, 1)  # less than a week counts as a week
    assert ((ratio > 0.7 * share) & (ratio < 1.4 * share)).all()
    profile = found[own].sum(axis=0).reshape(4, 7).mean(axis=0)
    actual = history.units[own, -HORIZON:].sum(axis=0).reshape(4, 7).mean(axis=0)
    assert np.corrcoef(profile, actual)[0, 1] > 0.8
    others = model.predict(known)[~own].sum()
    assert found[~own].sum() == pytest.approx(others, rel=0.2)


def test_a_group_with_four_weeks_of_sales_is_the_members(history: TotalsHistory, model: TotalsModel) -> None:
    units = history.units.copy()
    units[0, : -HORIZON - 1] = 0
    opened = dataclasses.replace(history, units=units)
    mean = np.mean(list(model.members_forecast(opened).values()), axis=0)
    np.testing.assert_allclose(model.predict(opened), mean * model.level, rtol=1e-5)


def test_reconciliation_keeps_forecasts_that_already_add_up(history: TotalsHistory) -> None:
    hierarchy = history.hierarchy()
    summing = hierarchy.summing[: hierarchy.offsets[9]].toarray()
    bottom = history.units[:, -HORIZON:].astype(float)
    size = summing @ history.units.mean(axis=1)
    np.testing.assert_allclose(ridge.reconcile(summing @ bottom, summing, size), bottom, rtol=1e-6, atol=1e-6)


def test_a_saved_model_forecasts_the_same(history: TotalsHistory, model: TotalsModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = TotalsModel.load(tmp_path)
    assert loaded.config == model.config
    assert loaded.trained_through == "2016-01-31"
    assert loaded.level == model.level
    assert loaded.predict(history).tobytes() == model.predict(history).tobytes()


def test_a_directory_without_a_complete_model_is_rejected(model: TotalsModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model of totals here"):
        TotalsModel.load(tmp_path)
    model.save(tmp_path)
    (tmp_path / "stack.txt").unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        TotalsModel.load(tmp_path)


def test_a_booster_with_other_features_is_rejected(model: TotalsModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    (tmp_path / "trees.txt").write_text((tmp_path / "stack.txt").read_text())
    with pytest.raises(ValueError, match="features"):
        TotalsModel.load(tmp_path)


def test_other_store_departments_are_rejected(history: TotalsHistory, model: TotalsModel) -> None:
    fewer = TotalsHistory.learned(history.groups.iloc[1:].reset_index(drop=True), history.units[1:], history.calendar)
    with pytest.raises(ValueError, match="other than the history's"):
        model.predict(fewer)


def test_a_history_round_trips_through_its_file(history: TotalsHistory, tmp_path: Path) -> None:
    path = tmp_path / "totals.parquet"
    write_totals(history, path)
    for source in (path, pa.BufferReader(path.read_bytes())):
        found = read_totals(source)
        pd.testing.assert_frame_equal(found.groups, history.groups, check_dtype=False)
        pd.testing.assert_frame_equal(found.calendar, history.calendar, check_dtype=False)
        assert found.units.tobytes() == history.units.tobytes()
        assert found.origin == history.origin


def test_a_file_of_another_kind_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match="not a file of totals"):
        read_totals(path)


def test_an_inconsistent_history_is_rejected(history: TotalsHistory) -> None:
    with pytest.raises(ValueError, match="do not match"):
        dataclasses.replace(history, units=history.units[:, :-1])
    units = history.units.copy()
    units[2, 10] = -1
    with pytest.raises(ValueError, match=r"units of CA_1/HOBBIES_1 on .* are -1"):
        dataclasses.replace(history, units=units)


def test_series_sum_to_their_store_departments() -> None:
    panel = make_panel(seed=1, items=8, stores=2, days=120)
    history = TotalsHistory.of_series(panel.series, panel.sales, panel.calendar)
    codes = group_codes(panel.series, history.groups)
    for row in range(len(history.groups)):
        np.testing.assert_allclose(history.units[row], panel.sales[codes == row].sum(axis=0))
    with pytest.raises(ValueError, match="no totals of store-department CA_1/FOODS_1"):
        group_codes(panel.series, history.groups.iloc[1:])


def test_levels_one_to_nine_are_the_competitions() -> None:
    history = make_history(days=120, stores=3)
    hierarchy = history.hierarchy()
    stores, departments = history.groups["store_id"].nunique(), history.groups["dept_id"].nunique()
    assert np.diff(hierarchy.offsets)[[0, 2, 4, 8]].tolist() == [1, stores, departments, len(history.groups)]


def test_training_origins_are_weeks_before_the_end() -> None:
    origins = training_origins(700, TotalsConfig(origin_step=14, training_days=364))
    assert origins[-1] == 693
    assert origins[0] >= 700 - 364
    assert set(np.diff(origins)) == {14}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rounds": "5"}, "unknown hyperparameters: rounds"),
        ({"leaves": "many"}, "leaves='many': .* integer"),
        ({"origin_step": "10"}, "origin_step='10': .* multiple of 7"),
        ({"l2": "-1"}, "l2='-1': .* greater than or equal to 0"),
        ({"seed": "-1"}, "seed='-1': .* greater than or equal to 0"),
        ({"bagging_fraction": "0"}, "bagging_fraction='0': .* greater than 0"),
    ],
)
def test_invalid_hyperparameters_are_rejected(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TotalsConfig.from_hyperparameters(values)


def test_hyperparameters_are_read_from_strings() -> None:
    config = TotalsConfig.from_hyperparameters({"seed": "7", "learning_rate": "0.1"})
    assert config == TotalsConfig(seed=7, learning_rate=0.1)


def test_the_ridge_is_fitted_to_the_history_it_forecasts(history: TotalsHistory, model: TotalsModel) -> None:
    known = history.rewind(HORIZON)
    assert model.members_forecast(known)[RIDGE].tobytes() == ridge.forecast(known).tobytes()
