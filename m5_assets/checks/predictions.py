"""Checks of each model's own forecast before the forecasts are combined."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.checks import unit_rules, usual_sales
from m5_assets.checks.recording import Check, Examiner, Findings, unreadable, weekly_checks
from m5_assets.model_specs import MEMBERS, TOTALS
from m5_assets.readers.forecasts import read_predictions
from m5_assets.readers.sales import read_sales_weeks
from m5_assets.resources.lake import Lake
from m5_assets.resources.limits import CheckLimits
from m5_assets.weeks import HORIZON_DAYS, Week

_PREDICT_AGAIN = "materialize the week's forecast of this model again; if that does not help, its model first"
CHECKS = (
    Check("complete", "Every series in the week's sales has its 28 days.", blocking=True, remedy=_PREDICT_AGAIN),
    Check("finite_and_not_negative", "No value is negative or non-finite.", blocking=True, remedy=_PREDICT_AGAIN),
    Check(
        "plausible_total",
        "The units per day are close to those of the last four weeks with sales.",
        limits=usual_sales.LIMITS,
    ),
)


def by_store(stores: pd.Series[str], units: npt.NDArray[np.floating]) -> pd.Series[float]:
    """Return the forecast's units per day by store, from the units of each row or series."""
    return pd.Series(units.astype(np.float64), index=stores.astype(str)).groupby(level=0).sum() / HORIZON_DAYS


def examiner(dataset: str) -> Callable[[Lake, CheckLimits], Examiner]:
    """Return the factory of the examiner of a model's forecast."""

    def of(lake: Lake, limits: CheckLimits) -> Examiner:
        def examine(week: Week) -> Findings:
            try:
                forecast = read_predictions(lake, lake.get(dataset, week.key))
            except ValueError as problem:  # not one row per series and day
                return unreadable(CHECKS, problem)
            keys = ["store_id", "item_id"]
            live = pd.MultiIndex.from_frame(read_sales_weeks(lake, [week]).series[keys])
            found = [d.date() for d in pd.date_range(forecast.first_day, forecast.last_day)]
            odd = unit_rules.days(found, week.shift(1).first_day, week.last_forecast_day)
            a_day = by_store(forecast.series["store_id"], forecast.units.sum(axis=1, dtype=float))
            return {
                "complete": unit_rules.complete(pd.MultiIndex.from_frame(forecast.series[keys]), live, odd),
                "finite_and_not_negative": unit_rules.finite_and_not_negative(forecast.units, dataset),
                "plausible_total": usual_sales.plausible_total(a_day, usual_sales.usual_by_store(lake, week), limits),
            }

        return examine

    return of


def examine_totals(lake: Lake, limits: CheckLimits) -> Examiner:
    """Return the examiner of `totals_forecast`."""

    def examine(week: Week) -> Findings:
        frame = lake.read_table(lake.get("totals_forecast", week.key).files[0]).to_pandas()
        keys = ["store_id", "dept_id"]
        live = pd.MultiIndex.from_frame(read_sales_weeks(lake, [week]).series[keys].drop_duplicates())
        groups = pd.MultiIndex.from_frame(frame[keys].drop_duplicates())
        odd = unit_rules.days(sorted(set(frame["date"])), week.shift(1).first_day, week.last_forecast_day)
        complete = unit_rules.complete(groups, live, odd)
        if complete.passed and len(frame) != len(groups) * HORIZON_DAYS:
            complete = unit_rules.complete(groups, live, [week.origin])
        values = frame["units"].to_numpy(np.float64)
        a_day = by_store(frame["store_id"], values)
        return {
            "complete": complete,
            "finite_and_not_negative": unit_rules.finite_and_not_negative(values, "totals_forecast"),
            "plausible_total": usual_sales.plausible_total(a_day, usual_sales.usual_by_store(lake, week), limits),
        }

    return examine


PREDICTIONS_CHECKS = [
    *(weekly_checks(each.predictions, CHECKS, examiner(each.predictions), ("lake", "limits")) for each in MEMBERS),
    weekly_checks(TOTALS.predictions, CHECKS, examine_totals, ("lake", "limits")),
]
