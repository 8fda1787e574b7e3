"""The catalogue of all features, the subset that the GBM uses, and the function that computes them.

To add a family, write a module with `FEATURES` and `compute` and list it in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from m5_assets.forecasting.features import (
    calendar_day,
    events,
    exponential,
    hierarchy_groups,
    identity,
    intermittency,
    lags,
    lifecycle,
    price,
    rolling,
    season,
    skewness,
    snap,
    weekday,
)
from m5_assets.forecasting.features.base import Feature, Integers, Matrix, Rows, kernel
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.panel import HORIZON


class Family(Protocol):
    """A module of features computed together."""

    FEATURES: tuple[Feature, ...]

    def compute(self, context: Context, rows: Rows, out: Matrix) -> None:
        """Fill `out` (rows, features) in the order of `FEATURES`; NaN is the missing value."""


FAMILIES: tuple[Family, ...] = (
    *(identity, calendar_day, events, snap, price, lifecycle),
    *(lags, rolling, skewness, exponential, weekday, intermittency, hierarchy_groups, season),
)

CATALOGUE: tuple[Feature, ...] = tuple(feature for family in FAMILIES for feature in family.FEATURES)
"""All features, in column order."""

NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)

MODEL_FEATURES: tuple[str, ...] = (
    *("dept", "store", "cat", "horizon", "weekday", "day_of_month", "closed"),
    *("snap", "snap_previous_day", "snap_share_28"),
    *("event", "event_type", "event_next_day", "days_to_holiday", "days_since_holiday", "days_since_release"),
    *("price", "price_cents", "price_momentum_7", "price_momentum_28", "price_ratio_mean_28", "price_ratio_mean_364"),
    *("price_ratio_max_364", "price_ratio_store_dept", "price_ratio_item"),
    *("origin_lag_1", "lag_28", "same_weekday_last_1", "same_weekday_last_2"),
    *("rolling_mean_7", "rolling_mean_14", "rolling_mean_28", "rolling_mean_56", "rolling_mean_91", "rolling_mean_182"),
    *("rolling_std_28", "rolling_std_91", "rolling_ratio_7_28", "rolling_ratio_28_91"),
    *("same_weekday_mean_4", "same_weekday_mean_8", "same_weekday_mean_13"),
    *("days_since_sale", "nonzero_share_28", "nonzero_share_91"),
    *("item_mean_7", "item_mean_28", "item_mean_91", "item_state_mean_28"),
    *("store_dept_ratio_7_28", "store_dept_ratio_28_91", "store_dept_weekday_profile_8"),
    *("store_dept_year_index_1", "store_dept_year_index_2", "store_dept_year_day_1", "store_dept_year_growth_1"),
)
"""The features that the GBM uses; `docs/model-features.md` explains the choice."""

CHUNK = 16_368
"""Rows computed at a time: few enough to fit a core's cache, many enough to amortize the calls. An odd number of cache
lines, because otherwise the columns would compete for the same cache sets."""


def compute(context: Context, rows: Rows, names: Sequence[str] = NAMES, *, threads: int = 2) -> Matrix:
    """Compute the features of any rows, each as of its own origin.

    Args:
        context: the arrays of the whole panel.
        rows: R rows; days up to T + 27, origins from 0 to T - 1.
        names: the F wanted columns, in this order.
        threads: chunks to compute in parallel; the result does not depend on it.

    Returns:
        (R, F) float32, in column-major order as files and LightGBM need it; NaN where a value is missing.

    Raises:
        ValueError: a name is unknown, or a row is outside the panel.
    """
    _check(context, rows)
    plan = _plan(names)
    table = np.empty((len(names), len(rows)), np.float32)

    def fill(start: int) -> None:
        part = slice(start, start + CHUNK)
        chunk = rows[part]
        for family, sources, targets in plan:
            columns = np.empty((len(family.FEATURES), len(chunk)), np.float32)
            with np.errstate(divide="ignore", invalid="ignore"):
                family.compute(context, chunk, columns.T)
            _copy(columns, sources, targets, table[:, part])

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(rows), CHUNK)):
            pass
    return table.T


@kernel
def _copy(columns: Matrix, sources: Integers, targets: Integers, out: Matrix) -> None:
    """Copy the wanted columns; unlike NumPy's fancy indexing, without the GIL."""
    for place in range(len(sources)):
        out[targets[place]] = columns[sources[place]]


def _plan(names: Sequence[str]) -> list[tuple[Family, Integers, Integers]]:
    """Return the families needed, which of their features are wanted, and the position of each among the names."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"unknown features: {', '.join(unknown)}; features.NAMES lists all")
    plan = []
    for family in FAMILIES:
        place = {feature.name: number for number, feature in enumerate(family.FEATURES)}
        targets = [number for number, name in enumerate(names) if name in place]
        if targets:
            sources = [place[names[target]] for target in targets]
            plan.append((family, np.array(sources, np.int32), np.array(targets, np.int32)))
    return plan


def _check(context: Context, rows: Rows) -> None:
    if not len(rows):
        return
    origin = rows.origin
    if rows.horizon.min() < 1 or origin.min() < 0 or origin.max() >= context.days:
        raise ValueError(
            f"rows need h >= 1 and an origin from 0 to {context.days - 1}; found h >= {rows.horizon.min()}, "
            f"origins {origin.min()} to {origin.max()}"
        )
    if rows.horizon.max() > HORIZON:
        raise ValueError(f"rows need h <= {HORIZON}; found {rows.horizon.max()}")
    if rows.series.min() < 0 or rows.series.max() >= len(context.sales):
        raise ValueError(f"rows need a series from 0 to {len(context.sales) - 1}")
