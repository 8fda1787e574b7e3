#!/usr/bin/env python3
"""Backtests the totals model: WRMSSE of levels 1 to 9 of each member and of their blend at past origins.

    totals_backtest.py LANDING [--last 1913] [--origins 13] [--train-every 4] [name=value ...]

LANDING contains the landing files: calendar.csv, sales_train_*.csv, sell_prices.csv and, for a longer history,
sales_store_dept_history.csv. Origins are four weeks apart. Scales come from the whole history up to the origin, weights
from the revenue of the 28 days up to it, so the detailed sales must reach back that far. name=value are hyperparameters
of `TotalsConfig`. The same-weekday mean of four weeks is shown for comparison.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting import wrmsse
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.config import TotalsConfig
from m5_assets.forecasting.totals.daily_totals import TotalsHistory, group_codes
from m5_assets.forecasting.totals.model import TotalsModel, fit, same_weekday_mean
from m5_assets.resources.landing_files import Landing
from m5_assets.resources.landing_files.totals_file import KEY_COLUMNS, sum_totals

LEVELS = 9


def main() -> None:
    """Run the backtest and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("landing", type=Path)
    parser.add_argument("--last", type=int, default=1913, help="day number of the last origin")
    parser.add_argument("--origins", type=int, default=13)
    parser.add_argument("--train-every", type=int, default=1, help="train only at every nth origin, like the cadence")
    parser.add_argument("hyperparameters", nargs="*", help="name=value")
    arguments = parser.parse_intermixed_args()
    config = TotalsConfig.from_hyperparameters(dict(text.split("=", 1) for text in arguments.hyperparameters))
    history, revenue, before = read(Landing(str(arguments.landing)), arguments.last + HORIZON)
    origins = [arguments.last - HORIZON * back for back in reversed(range(arguments.origins))]

    rows, model = [], None
    for place, origin in enumerate(origins):
        known = history.rewind(history.days + before - origin)
        if model is None or place % arguments.train_every == 0:
            model = fit(known, config, lambda _step, _share: None)
        for name, forecast in forecasts(model, known).items():
            score, bias = score_levels(forecast, history, revenue, origin - before)
            rows.append({"origin": origin, "forecast": name, "WRMSSE": score, "bias": bias})
        print(
            pd.DataFrame([row for row in rows if row["origin"] == origin]).round(4).to_string(header=False), flush=True
        )
    summary(pd.DataFrame(rows))


def read(landing: Landing, last_day: int) -> tuple[TotalsHistory, npt.NDArray[np.float64], int]:
    """Return the history through `last_day`, its (G, days) daily revenue, and the number of days before it.

    The revenue is zero before the detailed sales begin.
    """
    calendar, sales = landing.calendar(), landing.sales()
    totals = landing.totals() or sum_totals(sales)
    if last_day > min(totals.last_day, sales.last_day):
        raise SystemExit(f"the backtest needs sales and totals through d_{last_day}")
    before = totals.first_day - 1
    series = sales.series
    groups = totals.groups[list(KEY_COLUMNS)].merge(series[["dept_id", "cat_id"]].drop_duplicates(), on="dept_id")
    groups = groups.merge(series[["store_id", "state_id"]].drop_duplicates(), on="store_id")
    groups = groups.sort_values(["store_id", "dept_id"], ignore_index=True)
    days = calendar.drop(columns=["wm_yr_wk", "d"]).iloc[before : last_day + HORIZON]
    history = TotalsHistory.learned(groups, totals.units[:, : last_day - before].astype(np.float32), days)

    prices = landing.sell_prices().to_pandas()
    prices = prices[prices["wm_yr_wk"] >= calendar["wm_yr_wk"].iloc[sales.first_day - 1]]
    table = prices.set_index(["store_id", "item_id", "wm_yr_wk"])["sell_price"].unstack()
    table = table.reindex(pd.MultiIndex.from_frame(series[["store_id", "item_id"]]))
    weeks = calendar["wm_yr_wk"].iloc[sales.first_day - 1 : last_day]
    price = np.nan_to_num(table[weeks].to_numpy(float))
    revenue = np.zeros(history.units.shape)
    spent = sales.units[:, : len(weeks)] * price
    np.add.at(revenue[:, sales.first_day - 1 - before :], group_codes(series, groups), spent)
    return history, revenue, before


def forecasts(model: TotalsModel, known: TotalsHistory) -> dict[str, npt.NDArray[np.float32]]:
    """Return the (G, 28) forecasts to compare, by name."""
    members = model.members_forecast(known)
    return {"same weekday": same_weekday_mean(known), **members, "blend": model.predict(known)}


def score_levels(
    forecast: npt.NDArray[np.float32], history: TotalsHistory, revenue: npt.NDArray[np.float64], known: int
) -> tuple[float, float]:
    """Return the mean WRMSSE of levels 1 to 9, and the bias, of a forecast made after `known` days of the history."""
    recent = revenue[:, known - HORIZON : known]
    if not recent.any():
        raise SystemExit("no detailed sales in the 28 days up to an origin: ask for fewer origins")
    hierarchy = history.hierarchy()
    weights = wrmsse.weights(recent, np.ones_like(recent), hierarchy)
    scales = wrmsse.scales(history.units[:, :known], hierarchy)
    actual = history.units[:, known : known + HORIZON]
    score = wrmsse.evaluate(forecast, actual, hierarchy, weights, scales)
    return float(score.levels[:LEVELS].mean()), score.bias


def summary(table: pd.DataFrame) -> None:
    """Print scores and biases by origin and forecast, then their mean, worst and spread."""
    wide = table.pivot(index="origin", columns="forecast", values="WRMSSE")[table["forecast"].unique()]
    bias = table.pivot(index="origin", columns="forecast", values="bias")[wide.columns]
    print("\nWRMSSE of levels 1 to 9\n" + wide.round(3).to_string())
    print("\nbias, %\n" + (100 * bias).round(1).to_string())
    rows = {"mean": wide.mean(), "worst": wide.max(), "bias, mean": bias.mean(), "bias, sd": bias.std()}
    print("\n" + pd.DataFrame(rows).T.round(4).to_string())


if __name__ == "__main__":
    main()
