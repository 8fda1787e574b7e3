#!/usr/bin/env python3
"""Measures what each family of features is worth to the GBM: its gain, and the WRMSSE without it and with all of it.

    feature_ablation.py LAKE WEEK... [--landing FOLDER] [--share 0.03] [--iterations 50] [--seeds 1 2]

LAKE must have the weeks' features and models and the 28 days of sales after each week. For each week and seed, one
LightGBM model over all departments is trained on the GBM's features (`MODEL_FEATURES`), one without each of their
families, one with each family of the catalogue completed, and one on the whole catalogue. The seed determines the rows
and LightGBM's own samples. The models are smaller than the GBM in use (a thirteenth of the rows, two fifths of the
trees) and are neither averaged nor aligned, so their scores are higher (worse) than the platform's.

`change` is the difference to the same week's and seed's model with the GBM's features, averaged over weeks and seeds;
`error` is the standard error of that mean, and a change below two errors may be chance. `gain` is from the last week's
GBM, averaged over its members. FOLDER may contain the official weights and scales.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from dagster_sagemaker.artifacts import unpack_model

from m5_assets.assets.presentation import markdown_table
from m5_assets.forecasting import wrmsse
from m5_assets.forecasting.features import CATALOGUE, MODEL_FEATURES, NAMES, Context, Rows, compute
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.gbm.model import DESCRIPTION
from m5_assets.forecasting.gbm.training_rows import TrainingRows
from m5_assets.forecasting.hierarchy import Hierarchy
from m5_assets.forecasting.panel import HORIZON, Panel, concat, read_panel
from m5_assets.readers.sales import read_sales_weeks, unbroken_weeks, units_of
from m5_assets.readers.scoring import day_number
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing
from m5_assets.weeks import Week

FAMILY = {feature.name: feature.family for feature in CATALOGUE}
BASE = "the GBM's features"
NEEDED = ("closed", "days_since_release")
"""Features that mark days without possible sales; applied to every forecast, whether the trees use them or not."""

Matrix = npt.NDArray[np.float32]


def main() -> None:
    """Train all variants and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=Path)
    parser.add_argument("weeks", nargs="+", type=Week.parse)
    parser.add_argument("--landing", type=Path)
    parser.add_argument("--share", type=float, default=0.03, help="share of rows to draw")
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    config = GBMConfig(sample_share=arguments.share, iterations=arguments.iterations)
    lake, runs = Lake(root=str(arguments.lake)), []
    for week in arguments.weeks:
        runs += _ablate(lake, week, arguments.landing, config, arguments.seeds)
    scores = pd.DataFrame(runs).pivot(index="model", columns=["week", "seed"], values="WRMSSE")
    scores = scores.loc[list(_variants())]
    change = scores - scores.loc[BASE]
    table = pd.DataFrame({"features": {name: len(features) for name, features in _variants().items()}})
    table = table.join(scores.T.groupby(level="week").mean().T.round(4))
    table["change"] = change.mean(axis=1).round(4)
    table["error"] = change.sem(axis=1).round(4)
    print(markdown_table(table.rename_axis("model").reset_index()).value)
    spread = scores.loc[BASE].groupby(level="week").std().mean()
    print(f"\nStandard deviation of the score between seeds: {spread:.4f}\n")
    print(markdown_table(_gains(lake, arguments.weeks[-1])).value)


def _variants() -> dict[str, tuple[str, ...]]:
    """Return the features of each model variant, by name."""
    used = list(dict.fromkeys(FAMILY[name] for name in MODEL_FEATURES))
    partly = list(dict.fromkeys(FAMILY[name] for name in NAMES if name not in MODEL_FEATURES))
    return {
        BASE: MODEL_FEATURES,
        **{f"without {f}": tuple(n for n in MODEL_FEATURES if FAMILY[n] != f) for f in used},
        **{f"with all of {f}": tuple(n for n in NAMES if n in MODEL_FEATURES or FAMILY[n] == f) for f in partly},
        "the whole catalogue": NAMES,
    }


def _ablate(lake: Lake, week: Week, landing: Path | None, config: GBMConfig, seeds: list[int]) -> list[dict[str, Any]]:
    panel = concat([read_panel(Path(lake.path(file.key))) for file in lake.get("features", week.key).under("panel")])
    context = Context.build(panel)
    score = _scorer(lake, week, landing, panel)
    test = compute(context, _ahead(context), NAMES, threads=config.threads)
    closed = (test[:, NAMES.index(NEEDED[0])] > 0) | np.isnan(test[:, NAMES.index(NEEDED[1])])
    found = []
    for seed in seeds:
        seeded = config.model_copy(update={"seed": seed})
        rows = TrainingRows.draw([panel], seeded).rows
        train = compute(context, rows, NAMES, threads=config.threads)
        units = context.sales[rows.series, rows.day]
        for name, features in _variants().items():
            start = time.perf_counter()
            columns = [NAMES.index(feature) for feature in features]
            booster = _train(train[:, columns], units, seeded)
            forecast = np.asarray(booster.predict(test[:, columns], num_threads=config.threads))
            forecast[closed] = 0.0
            value = score(forecast.reshape(-1, HORIZON))
            found.append({"week": week.key, "seed": seed, "model": name, "WRMSSE": value})
            seconds = time.perf_counter() - start
            print(f"{week}, seed {seed}, {name}: {value:.4f} in {seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def _gains(lake: Lake, week: Week) -> pd.DataFrame:
    """Return the shares of gain of the families and of their best features in this week's GBM."""
    (archive,) = lake.get("gbm_model", week.key).files
    with tempfile.TemporaryDirectory() as folder:
        unpack_model(Path(lake.path(archive.key)), Path(folder))
        gain = pd.Series(json.loads((Path(folder) / DESCRIPTION).read_text())["importance"])
    family = pd.Series(FAMILY)[gain.index]
    table = gain.groupby(family).agg(["sum", "size"]).sort_values("sum", ascending=False)
    best = {f: ", ".join(f"{n} {gain[n]:.3f}" for n in gain.index[family == f][:3]) for f in table.index}
    table = table.assign(best=pd.Series(best)).rename_axis("family").reset_index()
    return table.rename(columns={"sum": "gain", "size": "features used", "best": "its features with most"}).round(4)


def _ahead(context: Context) -> Rows:
    """Return the 28 prediction rows of every series, in the panel's order."""
    count = len(context.sales)
    horizon = np.tile(np.arange(1, HORIZON + 1, dtype=np.int32), count)
    return Rows(np.repeat(np.arange(count, dtype=np.int32), HORIZON), context.days - 1 + horizon, horizon)


def _train(matrix: Matrix, units: Matrix, config: GBMConfig) -> lgb.Booster:
    parameters = config.booster_parameters(config.leaves, config.min_leaf_rows)
    return lgb.train(parameters, lgb.Dataset(matrix, units, params=parameters), num_boost_round=config.iterations)


def _scorer(lake: Lake, week: Week, landing: Path | None, panel: Panel) -> Callable[[npt.NDArray[np.float64]], float]:
    """Return a function that computes the WRMSSE of (N, 28) units with weights and scales as of the week's origin."""
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
