"""Checks of a week's forecast before it reaches the database and the dashboards.

All of them block: if one fails, the database keeps the previous week's forecast.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m5_assets.checks import unit_rules, usual_sales
from m5_assets.checks.predictions import by_store
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.forecasting.panel import SERIES_COLUMNS
from m5_assets.model_specs import ENSEMBLE
from m5_assets.readers.sales import read_sales_weeks
from m5_assets.resources.lake import Lake
from m5_assets.resources.limits import CheckLimits
from m5_assets.weeks import HORIZON_DAYS, Week

_FORECAST_AGAIN = "materialize the week's predictions, then ensemble_forecast again"
CHECKS = (
    Check(
        "complete",
        "Every series in the week's sales has each of the 28 days once.",
        blocking=True,
        remedy=_FORECAST_AGAIN,
    ),
    Check(
        "finite_and_not_negative",
        "No model has a negative or non-finite value.",
        blocking=True,
        remedy=_FORECAST_AGAIN,
    ),
    Check(
        "plausible_total",
        "The units per day are close to those of the last four weeks with sales.",
        blocking=True,
        limits=usual_sales.LIMITS,
    ),
    Check(
        "plausible_stores",
        "Each store's units per day are too, within twice the band.",
        blocking=True,
        limits=usual_sales.LIMITS,
    ),
)


def model_columns(table: pa.Table) -> list[str]:
    """Return the columns with a model's forecast: all except the keys."""
    return [name for name in table.column_names if name not in (*SERIES_COLUMNS, "date")]


def complete(table: pa.Table, live: pd.MultiIndex, week: Week) -> Finding:
    """Check that every series has each of the 28 days once."""
    keys = ["store_id", "item_id"]
    counted = table.group_by(keys).aggregate([("date", "count_distinct"), ("date", "count")]).to_pandas()
    series = pd.MultiIndex.from_frame(counted[keys].astype(str)).sort_values()
    odd = unit_rules.days(pc.unique(table["date"]).to_pylist(), week.shift(1).first_day, week.last_forecast_day)
    found = unit_rules.complete(series, live, odd)
    wrong = int(((counted["date_count_distinct"] != HORIZON_DAYS) | (counted["date_count"] != HORIZON_DAYS)).sum())
    return Finding(False, f"{wrong} series do not have 28 days once each") if found.passed and wrong else found


def examiner(lake: Lake, limits: CheckLimits) -> Examiner:
    """Return the examiner of `ensemble_forecast`."""

    def examine(week: Week) -> Findings:
        table = lake.read_table(lake.get("ensemble_forecast", week.key).files[0])
        sales = read_sales_weeks(lake, [week])
        values = np.column_stack([table[name].to_numpy() for name in model_columns(table)])
        summed = table.group_by("store_id").aggregate([(ENSEMBLE, "sum")]).to_pandas().astype({"store_id": str})
        a_day = by_store(summed["store_id"], summed[f"{ENSEMBLE}_sum"].to_numpy())
        usual = usual_sales.usual_by_store(lake, week)
        live = pd.MultiIndex.from_frame(sales.series[["store_id", "item_id"]])
        return {
            "complete": complete(table, live, week),
            "finite_and_not_negative": unit_rules.finite_and_not_negative(values, "all models"),
            "plausible_total": usual_sales.plausible_total(a_day, usual, limits),
            "plausible_stores": usual_sales.plausible_stores(a_day, usual, limits),
        }

    return examine


ensemble_forecast_checks = weekly_checks("ensemble_forecast", CHECKS, examiner, ("lake", "limits"))
