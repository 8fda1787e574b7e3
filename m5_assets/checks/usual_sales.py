"""What each store usually sells when it is open, and whether a forecast is near it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m5_assets.checks.recording import Finding
from m5_assets.readers.sales import read_sales_weeks
from m5_assets.resources.lake import Lake
from m5_assets.settings import CheckLimitFields, Limit
from m5_assets.weeks import Week

LIMITS = ("forecast_band", "forecast_floor")
"""The settings that decide here."""
_RECENT_WEEKS = 4
_LOOKED_AT_WEEKS = 12


@dataclass(frozen=True)
class Usual:
    """What a store, or all together, usually sells.

    Attributes:
        units: units per day when open, above zero.
        recent: units per day when weeks without sales count too.
    """

    units: float
    recent: float


def usual_by_store(lake: Lake, week: Week) -> dict[str, Usual]:
    """Return what each of the week's stores usually sells, from the weeks up to this one that are in the lake.

    Each of its departments is compared with the median of its last four weeks with sales; in a week without, it counts
    as closed. Weeks before it was in the file do not count. What sold nothing in twelve weeks is left out: there is
    nothing to compare with.
    """
    present = set(lake.partitions("raw_sales"))
    weeks: list[pd.Series[float]] = []
    for candidate in (week.shift(-i) for i in range(_LOOKED_AT_WEEKS)):
        if candidate.key not in present:
            continue
        sales = read_sales_weeks(lake, [candidate])
        departments = [sales.series[key].astype(str) for key in ("store_id", "dept_id")]
        units = pd.Series(sales.units.mean(axis=1)).groupby(departments).sum()
        weeks.append(units.reindex(weeks[0].index) if weeks else units)
        if np.all(np.sum([each > 0 for each in weeks], axis=0) >= _RECENT_WEEKS):
            break
    found: dict[str, Usual] = {}
    table = pd.concat(weeks, axis=1)
    for store, row in zip(table.index.get_level_values(0), table.to_numpy(float), strict=True):
        usual = usual_of(row[~np.isnan(row)].tolist())
        if usual:
            known = found.get(store, Usual(0.0, 0.0))
            found[store] = Usual(known.units + usual.units, known.recent + usual.recent)
    return found


def usual_of(weeks: Sequence[float]) -> Usual | None:
    """Return what a department usually sells, from units per day by week, the latest first; None without any sales."""
    sold = [units for units in weeks if units > 0][:_RECENT_WEEKS]
    if not sold:
        return None
    usual, recent = float(np.median(sold)), weeks[:_RECENT_WEEKS]
    return Usual(usual, usual * sum(units > 0 for units in recent) / len(recent))


def plausible_total(forecast: pd.Series[float], usual: Mapping[str, Usual], limits: CheckLimitFields) -> Finding:
    """Compare the units per day of all stores together with what they usually sell.

    Args:
        forecast: units per day by store.
        usual: from `usual_by_store`.
        limits: the band and its floor.
    """
    if not usual:
        return Finding(True, f"units per day: {forecast.sum():,.0f}; nothing was sold lately to compare with")
    band = limits.limit("forecast_band")
    value = float(forecast.reindex(list(usual), fill_value=0.0).sum())
    whole = Usual(sum(each.units for each in usual.values()), sum(each.recent for each in usual.values()))
    found = _compare(value, whole, band.value, limits.forecast_floor)
    text = f"units per day: {value:,.0f}, {found.ratio:.2f} of the usual {whole.units:,.0f}"
    text += f"; {found.low:.2f} to {found.high:.2f} passes ({band})"
    if whole.recent < whole.units:
        text += ", as some stores or departments sold nothing in some of the last four weeks"
    figures = {"value": value, "usual": whole.units, "ratio": found.ratio}
    return Finding(found.passed, text if found.passed else text + _remedy(found.needed, band), figures)


def plausible_stores(forecast: pd.Series[float], usual: Mapping[str, Usual], limits: CheckLimitFields) -> Finding:
    """Compare each store's units per day with what it usually sells, with twice the band: one store varies more."""
    band = limits.limit("forecast_band")
    found = {
        store: _compare(float(forecast.get(store, 0.0)), each, 2 * band.value, limits.forecast_floor)
        for store, each in usual.items()
    }
    odd = {store: each for store, each in found.items() if not each.passed}
    text = f"{len(found) - len(odd)} of {len(found)} stores are near what they usually sell"
    if not odd:
        return Finding(True, text, {"stores_odd": 0})
    named = [f"{store}: {each.ratio:.2f}, {each.low:.2f} to {each.high:.2f} passes" for store, each in odd.items()]
    remedy = _remedy(max(each.needed for each in odd.values()) / 2, band)
    return Finding(False, f"{text}; {'; '.join(named)} (twice {band}){remedy}", {"stores_odd": len(odd)})


@dataclass(frozen=True)
class _Comparison:
    """A forecast as a share of the usual, the lowest and highest share that pass, and the band it would need."""

    ratio: float
    low: float
    high: float
    needed: float

    @property
    def passed(self) -> bool:
        return self.low <= self.ratio <= self.high


def _compare(value: float, usual: Usual, band: float, floor: float) -> _Comparison:
    """Compare a forecast with what is usual.

    The highest is measured by what is sold when open; the lowest by what was sold of late, closed weeks included, as
    nobody knows at the origin whether and how soon a store will be open again. A difference of up to `floor` units per
    day always passes: with few sales, shares say nothing.
    """
    low = max(min((1 - band) * usual.recent, usual.recent - floor), 0.0)
    high = max((1 + band) * usual.units, usual.units + floor)
    below = 1 - value / usual.recent if usual.recent else 0.0
    ratio = value / usual.units
    return _Comparison(ratio, low / usual.units, high / usual.units, max(ratio - 1, below))


def _remedy(needed: float, band: Limit) -> str:
    return f"; {band.remedy(needed)}" if math.isfinite(needed) else ""
