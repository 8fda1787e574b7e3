"""Checks of a week's forecast before it reaches the database and the dashboards.

All of them block: if one fails, the database keeps the previous week's forecast.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from m5_assets.checks import unit_rules
from m5_assets.checks.predictions import recent_units_a_day
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.forecasting.panel import SERIES_COLUMNS
from m5_assets.model_specs import ENSEMBLE
from m5_assets.readers.sales import read_sales_weeks
from m5_assets.resources.lake import Lake
from m5_assets.resources.limits import CheckLimits
from m5_assets.weeks import HORIZON_DAYS, Week

CHECKS = (
    Check("complete", "Every series in the week's sales has each of the 28 days once.", blocking=True),
    Check("finite_and_not_negative", "No model has a negative or non-finite value.", blocking=True),
    Check("plausible_total", "The units per day are close to those of the last four weeks.", blocking=True),
    Check("plausible_stores", "Each store's units per day are too, within twice the band.", blocking=True),
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


def plausible_stores(forecast: pd.Series[float], sales: pd.Series[float], band: float) -> Finding:
    """Compare each store's units per day with its sales per day in the last four weeks."""
    ratio = (forecast / sales.where(sales > 0)).reindex(sales.index)
    odd = ratio[~((ratio - 1).abs() <= band) & (sales > 0)]
    text = f"{len(sales) - len(odd)} of {len(sales)} stores at {1 - band:.2f} to {1 + band:.2f} of their last weeks"
    named = "; ".join(f"{store}: {value:.2f}" for store, value in odd.items())
    return Finding(odd.empty and len(sales) > 0, f"{text}; {named}" if named else text, {"stores_odd": len(odd)})


def examiner(lake: Lake, limits: CheckLimits) -> Examiner:
    """Return the examiner of `ensemble_forecast`."""

    def examine(week: Week) -> Findings:
        table = lake.read_table(lake.get("ensemble_forecast", week.key).files[0])
        sales = read_sales_weeks(lake, [week])
        values = np.column_stack([table[name].to_numpy() for name in model_columns(table)])
        by_store = table.group_by("store_id").aggregate([(ENSEMBLE, "sum")]).to_pandas().astype({"store_id": str})
        forecast = by_store.set_index("store_id")[f"{ENSEMBLE}_sum"] / HORIZON_DAYS
        a_day, band = float(np.sum(table[ENSEMBLE].to_numpy(), dtype=float)) / HORIZON_DAYS, limits.forecast_band
        live = pd.MultiIndex.from_frame(sales.series[["store_id", "item_id"]])
        return {
            "complete": complete(table, live, week),
            "finite_and_not_negative": unit_rules.finite_and_not_negative(values, "all models"),
            "plausible_total": unit_rules.in_band(a_day, recent_units_a_day(lake, week), band, "units per day"),
            "plausible_stores": plausible_stores(forecast, _sales_by_store(lake, week), 2 * band),
        }

    return examine


def _sales_by_store(lake: Lake, week: Week) -> pd.Series[float]:
    present = set(lake.partitions("raw_sales"))
    weeks = [read_sales_weeks(lake, [w]) for w in (week.shift(-i) for i in range(4)) if w.key in present]
    frames = [
        pd.Series(w.units.mean(axis=1), index=w.series["store_id"].astype(str)).groupby(level=0).sum() for w in weeks
    ]
    return pd.concat(frames, axis=1).mean(axis=1)


ensemble_forecast_checks = weekly_checks("ensemble_forecast", CHECKS, examiner, ("lake", "limits"))
