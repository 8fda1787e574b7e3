#!/usr/bin/env python3
"""What each family of features is worth to the GBM: its share of the gain, and the WRMSSE without it.

    feature_ablation.py LAKE WEEK... [--landing FOLDER] [--share 0.1] [--iterations 60]

LAKE holds the weeks' features and the 28 days of sales after each. For each week one LightGBM of all departments is
trained on the features that the GBM uses, one without each family, one on the whole catalogue, and a second one of all
features with another seed: differences below that one's are chance. Smaller than the GBM in use (a tenth of the rows,
half of the trees), not averaged and not aligned, so that the scores are higher than the platform's. FOLDER may hold the
official weights and scales.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.assets.measure import day_number
from m5_assets.assets.presentation import markdown_table
from m5_assets.assets.sales import read_sales_weeks, unbroken_weeks, units_of
from m5_assets.forecasting import wrmsse
from m5_assets.forecasting.features import CATALOGUE, MODEL_FEATURES, NAMES, Context, Rows, compute
from m5_assets.forecasting.gbm import GBMConfig, training_rows
from m5_assets.forecasting.hierarchy import Hierarchy
from m5_assets.forecasting.panel import HORIZON, Panel, concat, read_panel
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing import Landing
from m5_assets.weeks import Week

FAMILY = {feature.name: feature.family for feature in CATALOGUE}
NEEDED = ("is_christmas", "days_since_release")
"""What says that nothing can be sold: applied to every forecast, whether the trees see it or not."""

Matrix = npt.NDArray[np.float32]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("weeks", nargs="+", type=Week.parse)
    parser.add_argument("--landing", type=Path)
    parser.add_argument("--share", type=float, default=0.1, help="of the rows that are drawn")
    parser.add_argument("--iterations", type=int, default=60)
    arguments = parser.parse_args()
    config = dataclasses.replace(GBMConfig(), sample_share=arguments.share, iterations=arguments.iterations)
    lake, tables = Lake(root=str(arguments.lake)), {}
    for week in arguments.weeks:
        tables[week.key] = _ablate(lake, week, arguments.landing, config)
    scores = pd.DataFrame({week: table["WRMSSE"] for week, table in tables.items()})
    first = next(iter(tables.values()))
    change = scores.sub(scores.loc["all of the GBM's"]).mean(axis=1)
    table = first[["features", "gain"]].join(scores.round(4)).assign(change=change.round(4)).reset_index()
    print(markdown_table(table).value)


def _ablate(lake: Lake, week: Week, landing: Path | None, config: GBMConfig) -> pd.DataFrame:
    panel = concat([read_panel(Path(lake.path(file.key))) for file in lake.get("features", week.key).under("panel")])
    context = Context.build(panel)
    rows, ahead = training_rows(context, config), _ahead(context)
    train, test = (compute(context, part, NAMES, threads=config.threads) for part in (rows, ahead))
    units = context.sales[rows.series, rows.day]
    score = _scorer(lake, week, landing, panel)
    families = list(dict.fromkeys(FAMILY[name] for name in MODEL_FEATURES))
    chosen = {
        "all of the GBM's": (MODEL_FEATURES, config),
        "the same, another seed": (MODEL_FEATURES, dataclasses.replace(config, seed=config.seed + 1)),
        "the whole catalogue": (NAMES, config),
        **{f"without {f}": (tuple(n for n in MODEL_FEATURES if FAMILY[n] != f), config) for f in families},
    }
    closed = (test[:, NAMES.index(NEEDED[0])] > 0) | np.isnan(test[:, NAMES.index(NEEDED[1])])
    found, gains = [], pd.Series(dtype=float)
    for name, (features, configuration) in chosen.items():
        start = time.perf_counter()
        columns = [NAMES.index(feature) for feature in features]
        booster = _train(train[:, columns], units, configuration)
        forecast = np.asarray(booster.predict(test[:, columns], num_threads=config.threads))
        forecast[closed] = 0.0
        if not len(gains):
            gains = pd.Series(booster.feature_importance("gain"), [FAMILY[feature] for feature in features])
            gains = gains.groupby(level=0).sum() / gains.sum()
        value = score(forecast.reshape(-1, HORIZON))
        gain = gains.get(name.removeprefix("without "), np.nan)
        found.append({"model": name, "features": len(features), "gain": round(float(gain), 4), "WRMSSE": value})
        print(f"{week} {name}: {value:.4f} in {time.perf_counter() - start:.0f} s", flush=True)
    return pd.DataFrame(found).set_index("model")


def _ahead(context: Context) -> Rows:
    """Return the 28 rows of every series, in the order of the panel."""
    count = len(context.sales)
    horizon = np.tile(np.arange(1, HORIZON + 1, dtype=np.int32), count)
    return Rows(np.repeat(np.arange(count, dtype=np.int32), HORIZON), context.days - 1 + horizon, horizon)


def _train(matrix: Matrix, units: Matrix, config: GBMConfig) -> lgb.Booster:
    parameters = config.booster_parameters(config.leaves, config.min_leaf_rows)
    return lgb.train(parameters, lgb.Dataset(matrix, units, params=parameters), num_boost_round=config.iterations)


def _scorer(lake: Lake, week: Week, landing: Path | None, panel: Panel) -> Callable[[npt.NDArray[np.float64]], float]:
    """Return a function from (N, 28) units to their WRMSSE, with the weights and scales of the week's origin."""
    hierarchy = Hierarchy.of(panel.series)
    actual = units_of(panel.series, read_sales_weeks(lake, [week.shift(n) for n in range(1, HORIZON // 7 + 1)]))
    official = Landing(str(landing)).official() if landing else None
    landed = official.at(day_number(lake, week)) if official else None
    if landed is not None:
        measure = wrmsse.from_table(landed, hierarchy)
    else:
        history = units_of(panel.series, read_sales_weeks(lake, unbroken_weeks(lake, week)))
        recent = panel.price[:, panel.days - HORIZON : panel.days]
        measure = wrmsse.weights(history[:, -HORIZON:], recent, hierarchy), wrmsse.scales(history, hierarchy)
    return lambda units: wrmsse.evaluate(units, actual, hierarchy, *measure).wrmsse


if __name__ == "__main__":
    main()
