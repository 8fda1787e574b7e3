"""WRMSSE's weights and scales as known at a week's origin; `m5_assets.forecasting.wrmsse` defines the measure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import OFFICIAL, BadInput, LandedOfficial
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.weeks import HORIZON_DAYS, Week

if TYPE_CHECKING:  # SciPy takes half a second, which would slow down every start of the code location
    from m5_assets.forecasting.hierarchy import Hierarchy


@dataclass(frozen=True)
class Measure:
    """The weights and scales of a week's errors, for G groups of N series.

    Attributes:
        hierarchy: of the series.
        weights: (G,).
        scales: (G,), squared units.
        source: "official" if weights and scales come from the landed file, "own" if they were computed from the sales
            and prices in the lake.
    """

    hierarchy: Hierarchy
    weights: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    source: str


def landed_official(landing: LandingFolder) -> LandedOfficial | None:
    """Return the competition's own weights and scales if they have landed.

    Raises:
        dg.Failure: the file is invalid; not retried.
    """
    try:
        return landing.open().official()
    except BadInput as problem:
        raise dg.Failure(description=str(problem), allow_retries=False) from problem


def day_number(lake: Lake, week: Week) -> int:
    """Return the day number of the week's origin in the calendar, e.g. 1913."""
    days = _whole(lake, "calendar").select(["date", "d"]).to_pandas()
    return int(days.loc[pd.to_datetime(days["date"]) == pd.Timestamp(week.origin), "d"].iloc[0])


def measure_of(
    context: dg.AssetExecutionContext,
    lake: Lake,
    history: DailyUnits,
    origin_day: int,
    official: LandedOfficial | None,
) -> Measure:
    """Return the official weights and scales if they have landed for this origin and these series, else our own.

    The official scales come from the series' whole history, which the lake may not hold.

    Args:
        context: logs why the numbers are our own.
        lake: holds the prices and the calendar.
        history: the sales through the origin.
        origin_day: the origin's day number.
        official: see `landed_official`.
    """
    from m5_assets.forecasting import wrmsse
    from m5_assets.forecasting.hierarchy import Hierarchy

    hierarchy = Hierarchy.of(history.series)
    landed = official.at(origin_day) if official else None
    if official is None:
        reason = f"no {OFFICIAL} has landed"
    elif landed is None:
        reason = f"{OFFICIAL} does not hold d_{origin_day}"
    else:
        try:
            return Measure(hierarchy, *wrmsse.from_table(landed, hierarchy), source="official")
        except (
            ValueError
        ) as problem:  # the lake holds a sample or only some stores, so the weights are for other groups
            reason = f"{OFFICIAL} covers other series than the lake ({problem})"
    context.log.info(f"{reason}; computing weights and scales from the lake")
    recent = weighed_days(history)
    weights = wrmsse.weights(recent.units, _prices(lake, recent), hierarchy)
    return Measure(hierarchy, weights, wrmsse.scales(history.units, hierarchy), source="own")


def _whole(lake: Lake, dataset: str) -> pa.Table:
    return lake.read_table(lake.get(dataset).files[0])


def weighed_days(history: DailyUnits) -> DailyUnits:
    """Return the last 28 days, whose revenue gives the weights.

    If nothing at all was sold on them, as in a lockdown, these are the 28 days through the last sale: otherwise no
    series would have a weight, and no week that ends in a closure could be scored or learned from.
    """
    end = history.units.shape[1]
    if not history.units[:, -HORIZON_DAYS:].any() and history.units.any():
        end = int(np.flatnonzero(history.units.any(axis=0))[-1]) + 1
    begin = max(end - HORIZON_DAYS, 0)
    return DailyUnits(history.series, history.first_day + dt.timedelta(days=begin), history.units[:, begin:end])


def _prices(lake: Lake, days: DailyUnits) -> npt.NDArray[np.float32]:
    panel = build_panel(days, _whole(lake, "sell_prices"), _whole(lake, "calendar"))
    return panel.price[:, : days.units.shape[1]]
