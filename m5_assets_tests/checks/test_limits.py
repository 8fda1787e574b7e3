"""Every limit of a check can be moved by a setting that its finding names, and true weeks pass or have a way out."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from types import ModuleType

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from m5_assets.checks import STAGES, accuracy, features, landing, models, price_rules, unit_rules
from m5_assets.checks.earlier_weeks import WeekOfUnits, drifts, units_in_range
from m5_assets.checks.recording import Check, Finding
from m5_assets.checks.usual_sales import Usual, plausible_stores, plausible_total
from m5_assets.resources.landing_files.id_matching import IdMatch
from m5_assets.settings import CheckLimitFields, Settings, settings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-05-16")
DEFAULTS = CheckLimitFields()


def _room(stage: ModuleType) -> str:
    return stage.__name__.rpartition(".")[2]


def _checks() -> dict[str, Check]:
    """Return the checks of all stages by asset and name, as the stages bind them."""
    found = {}
    for stage in STAGES:
        for name, value in vars(stage).items():
            for check in value if isinstance(value, tuple) else ():
                if isinstance(check, Check):
                    found[f"{_room(stage)}.{name}.{check.name}"] = check
    return found


CHECKS = _checks()


def week_of(largest: float, total: float | None = None, items: int = 1) -> WeekOfUnits:
    """Return a week in which the first item sold these units on one day, or the total evenly."""
    units = np.zeros((items, 7))
    units[0, 2] = largest
    index = pd.MultiIndex.from_tuples([("CA_1", f"FOODS_1_{number:03}") for number in range(items)])
    sold = index[:1] if largest else index[:0]
    days = tuple(WEEK.first_day + dt.timedelta(days=day) for day in range(7))
    a_day = (largest if total is None else total) / 7
    return WeekOfUnits(index, sold, days, a_day, float((units == 0).mean()), largest, f"CA_1/FOODS_1_000 on {days[2]}")


def in_range(own: WeekOfUnits, earlier: Sequence[WeekOfUnits], limits: CheckLimitFields = DEFAULTS) -> Finding:
    def before(week: WeekOfUnits) -> Sequence[WeekOfUnits]:
        return earlier[next(place for place, each in enumerate(earlier) if each is week) + 1 :][:8]

    return units_in_range(own, 0.0, earlier[:8], limits, before)


def _prices(*prices: float) -> pa.Table:
    count = len(prices)
    return pa.table(
        {
            "store_id": ["CA_1"] * count,
            "item_id": [f"FOODS_1_{number:03}" for number in range(count)],
            "wm_yr_wk": pa.array([11101] * count, pa.int32()),
            "sell_price": pa.array(prices, pa.float32()),
        }
    )


def _missing(limits: CheckLimitFields) -> Finding:
    live = pd.MultiIndex.from_tuples([("CA_1", "A"), ("TX_1", "B")])
    return unit_rules.complete(live[:1], live, [], limits.limit("missing_series"))


def _left(limits: CheckLimitFields) -> Finding:
    live = pd.MultiIndex.from_tuples([("CA_1", "FOODS_1"), ("TX_1", "FOODS_1"), ("WI_1", "FOODS_1")])
    return unit_rules.complete(live[:1], live, [], limits.limit("left_series"))


def _finite(limits: CheckLimitFields) -> Finding:
    counts = features.Finiteness(limits.limit("missing_features"))
    filled = {name: pa.array([1.0, np.nan, np.nan], pa.float32()) for name in features._FILLED}
    counts.add(pa.table(filled | {"days_since_release": pa.array([7.0] * 3, pa.float32())}))
    return counts.finding()


def _fresh(limits: CheckLimitFields) -> Finding:
    source = Settings(checks=settings().checks.model_copy(update=limits.model_dump()))
    now = dt.datetime(2016, 5, 25, tzinfo=dt.UTC)
    return landing.landed_is_fresh(WEEK.origin - dt.timedelta(days=7), now, source)


def _unpriced(limits: CheckLimitFields) -> Finding:
    sold = pd.MultiIndex.from_tuples([("CA_1", "FOODS_1_000"), ("CA_1", "FOODS_1_001")])
    return price_rules.live_series_priced(_prices(1.0), sold, [11101], limits.limit("missing_series"))


USUAL = {"CA_1": Usual(100.0, 100.0), "TX_1": Usual(50.0, 50.0)}
Case = tuple[Callable[[CheckLimitFields], Finding], dict[str, float]]
CASES: dict[str, Case] = {
    "landing.SALES_CHECKS.complete": (_missing, {"missing_series": 0.5}),
    "landing.SALES_CHECKS.units_in_range": (lambda x: in_range(week_of(500), [week_of(20)], x), {"units_factor": 25}),
    "landing.SALES_CHECKS.volume_drift": (
        lambda x: drifts(week_of(20), [week_of(10)], x)["volume_drift"],
        {"volume_band": 1.0},
    ),
    "landing.SALES_CHECKS.zero_share_drift": (
        lambda x: drifts(week_of(0), [week_of(10)], x)["zero_share_drift"],
        {"zero_share_band": 0.15},
    ),
    "landing.SALES_CHECKS.latest_week_landed": (_fresh, {"landing_hours": 100}),
    "landing.TOTALS_CHECKS.complete": (_left, {"left_series": 0.67}),
    "landing.TOTALS_CHECKS.volume_drift": (
        lambda x: drifts(week_of(1), [week_of(10)], x)["volume_drift"],
        {"volume_band": 0.9},
    ),
    "landing.PRICES_CHECKS.prices_in_range": (
        lambda x: price_rules.prices_in_range(_prices(3.5, 3.5, 70_000), x.limit("price_factor")),
        {"price_factor": 20_001},
    ),
    "landing.PRICES_CHECKS.live_series_priced": (_unpriced, {"missing_series": 0.5}),
    "landing.PRICES_CHECKS.ids_match": (
        lambda x: price_rules.ids_match(IdMatch(7, 2, 0, 0, {"live_unpriced": ["CA_1/A"]}), x.limit("unpriced_series")),
        {"unpriced_series": 0.29},
    ),
    "features.CHECKS.finite": (_finite, {"missing_features": 0.67}),
    "models.CHECKS.age": (
        lambda x: models.age(WEEK, WEEK.shift(-9), x.limit("model_age_weeks")),
        {"model_age_weeks": 9},
    ),
    "predictions.CHECKS.plausible_total": (
        lambda x: plausible_total(pd.Series({"CA_1": 0.0, "TX_1": 0.0}), USUAL, x),
        {"forecast_band": 1.0},
    ),
    "ensemble.CHECKS.plausible_total": (
        lambda x: plausible_total(pd.Series({"CA_1": 250.0, "TX_1": 50.0}), USUAL, x),
        {"forecast_band": 1.0},
    ),
    "ensemble.CHECKS.plausible_stores": (
        lambda x: plausible_stores(pd.Series({"CA_1": 100.0, "TX_1": 150.0}), USUAL, x),
        {"forecast_band": 1.0},
    ),
    "accuracy.CHECKS.ensemble_not_worse": (
        lambda x: accuracy.ensemble_not_worse(
            [{"ensemble": 0.6, "gbm": 0.5, "lstm": 0.7}], x.limit("ensemble_tolerance")
        ),
        {"ensemble_tolerance": 0.21},
    ),
}
"""For each check with a limit, a finding that fails by default and the setting with which it passes."""

EXACT = {
    "landing.SALES_CHECKS.schema",
    "landing.SALES_CHECKS.departures",
    "landing.SALES_CHECKS.history_as_landed",
    "landing.TOTALS_CHECKS.schema",
    "landing.TOTALS_CHECKS.agrees_with_detail",
    "landing.PRICES_CHECKS.schema",
    "landing.CALENDAR_CHECKS.days_without_gap",
    "landing.CALENDAR_CHECKS.reaches_the_horizon",
    "landing.CALENDAR_CHECKS.events_named",
    "features.CHECKS.schema",
    "features.CHECKS.complete",
    "features.CHECKS.known_at_the_origin",
    "features.CHECKS.based_on_current_sales",
    "models.CHECKS.archive_in_place",
    "models.CHECKS.trained_on_the_past",
    "predictions.CHECKS.complete",
    "predictions.CHECKS.finite_and_not_negative",
    "ensemble_weights.CHECKS.shares",
    "ensemble_weights.CHECKS.learnt_from_the_past",
    "ensemble.CHECKS.complete",
    "ensemble.CHECKS.finite_and_not_negative",
    "accuracy.CHECKS.levels_complete",
    "accuracy.CHECKS.better_than_seasonal_naive",
    "rds.ROWS_CHECKS.matches_the_lake",
    "rds.SCORES_CHECKS.matches_the_lake",
    "rds.CALENDAR_CHECKS.matches_the_lake",
}
"""Checks that compare exactly: no true week can fail them, whatever a retailer sells; a departure is only a warning."""


def test_every_check_has_a_limit_with_a_setting_or_is_exact() -> None:
    bound = {
        (_room(stage), spec.name)
        for stage in STAGES
        for value in vars(stage).values()
        for definition in (value if isinstance(value, list) else [value])
        if isinstance(definition, dg.AssetChecksDefinition)
        for spec in definition.check_specs
    }
    assert bound == {(name.partition(".")[0], check.name) for name, check in CHECKS.items()}
    assert set(CASES) == {name for name, check in CHECKS.items() if check.limits}
    assert set(EXACT) == {name for name, check in CHECKS.items() if not check.limits}
    assert [name for name, check in CHECKS.items() if check.blocking and not check.limits and not check.remedy] == []


def test_every_limit_belongs_to_a_check() -> None:
    used = {field for check in CHECKS.values() for field in check.limits} | {"accuracy_weeks"}  # a number of weeks
    assert used == set(CheckLimitFields.model_fields)


@pytest.mark.parametrize("name", CASES)
def test_a_failed_finding_names_the_setting_that_moves_its_limit(name: str) -> None:
    finding, moved = CASES[name]
    (field,) = moved
    assert field in CHECKS[name].limits
    found = finding(DEFAULTS)
    assert not found.passed
    assert f"M5_CHECKS_{field.upper()}" in found.text
    assert finding(DEFAULTS.model_copy(update=moved)).passed


@pytest.mark.parametrize("name", CASES)
def test_the_value_that_a_finding_recommends_lets_it_pass(name: str) -> None:
    finding, _ = CASES[name]
    recommended = re.search(r"if that is true, set M5_CHECKS_([A-Z_]+)=([\d.]+) or more", finding(DEFAULTS).text)
    if not CHECKS[name].blocking and recommended is None:
        return  # a warning: its figures are enough
    assert recommended is not None
    changed = {recommended[1].lower(): float(recommended[2])}
    assert finding(DEFAULTS.model_copy(update=changed)).passed
