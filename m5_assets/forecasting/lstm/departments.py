"""How the series' store-departments sold: trends, weekday profiles and the effect of SNAP days.

Here: tables over all store-departments and days, from which `data` reads at each window's origin. Not here: what a
series itself sold (`data`).

A series sells too little to show its store's rhythm: its own weekday means are mostly noise. Its store-department sells
hundreds of times as much, so that its rhythm is known almost exactly; errors in it add up over the series and are what
the upper levels of the WRMSSE see.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from m5_assets.forecasting.panel import HORIZON, Panel

TRENDS = ((7, 28), (14, 28), (28, 91))
"""Days of the two means whose ratio is a trend."""
PROFILE_WEEKS = (8, 13)
SNAP_WINDOW = 182
SNAP_PRIOR = 5
"""Days of mean sales added to the SNAP days and to the others: few days of either show little."""
SCALE = 4.0
"""Logarithms of these ratios are mostly below 0.25; the network reads them on the scale of its other inputs."""

Floats = npt.NDArray[np.float64]


class StoreDepartments:
    """Tables of G store-departments over the panel's T days, as tensors on one device.

    All are logarithms of ratios, times `SCALE`, and read no sales from their origin on. The panel holds whole stores,
    else the store-departments are those parts of them that it holds.
    """

    def __init__(self, panel: Panel, is_open: npt.NDArray[np.bool_], device: torch.device) -> None:
        group = panel.series.groupby(["store_id", "dept_id"], sort=True).ngroup().to_numpy(np.int64)
        state = pd.Index(panel.states).get_indexer(pd.Index(panel.series["state_id"].to_numpy(str)))
        sales = np.zeros((group.max() + 1, panel.days))
        np.add.at(sales, group, panel.sales)
        snap = np.zeros((len(sales), panel.days + HORIZON), bool)
        snap[group] = panel.snap().T[state]
        shown = np.broadcast_to(is_open[: panel.days], sales.shape)

        def table(values: Floats) -> Tensor:
            return torch.from_numpy((SCALE * values).astype(np.float32)).to(device)

        self.group = torch.tensor(group, device=device)
        self.snap_days = torch.from_numpy(snap.astype(np.int64)).to(device)
        self.trends = table(_trends(sales, shown))
        self.profiles = table(_profiles(sales, shown))
        self.snap_effect = table(_snap_effect(sales, shown, snap[:, : panel.days]))

    def trend(self, rows: Tensor, origins: Tensor) -> Tensor:
        """Return (B, len(TRENDS)): how the last days before the origin stand to the longer time before it."""
        return self.trends[self.group[rows], origins]

    def rhythm(self, rows: Tensor, ahead: Tensor) -> Tensor:
        """Return (B, 28, len(PROFILE_WEEKS) + 1) of the 28 days `ahead`, (B, 28), as known before the first of them.

        How the day's weekday stood to the others over the last weeks, and how SNAP days, if it is one, or other days,
        if it is none, stood to all days.
        """
        group, origins = self.group[rows], ahead[:, 0]
        last_week = ahead[:, :7] - 7
        profiles = self.profiles[group[:, None], last_week]
        profiles = profiles - profiles.mean(dim=1, keepdim=True)
        effect = self.snap_effect[group, origins].gather(1, self.snap_days[group[:, None], ahead])
        return torch.cat([profiles.repeat(1, HORIZON // 7, 1), effect[:, :, None]], dim=2)


def _trends(sales: Floats, shown: npt.NDArray[np.bool_]) -> Floats:
    """Return (G, T + 1, len(TRENDS)) by origin."""
    lengths = {days for pair in TRENDS for days in pair}
    means = {days: _ratio(_before(sales * shown, days), _before(shown, days)) for days in lengths}
    return np.stack([_log(_ratio(means[short], means[long])) for short, long in TRENDS], axis=2)


def _profiles(sales: Floats, shown: npt.NDArray[np.bool_]) -> Floats:
    """Return (G, T, len(PROFILE_WEEKS)) by the last day counted: mean sales on its weekday, not yet compared."""
    return np.stack(
        [_log(_ratio(_weekly(sales * shown, weeks), _weekly(shown, weeks))) for weeks in PROFILE_WEEKS], axis=2
    )


def _snap_effect(sales: Floats, shown: npt.NDArray[np.bool_], snap: npt.NDArray[np.bool_]) -> Floats:
    """Return (G, T + 1, 2) by origin: of days that are none and of SNAP days."""
    kinds = [shown & ~snap, shown & snap]
    sums = [_before(sales * kind, SNAP_WINDOW) for kind in kinds]
    counts = [_before(kind, SNAP_WINDOW) for kind in kinds]
    mean = _ratio(sums[0] + sums[1], counts[0] + counts[1])
    shrunk = [(s + SNAP_PRIOR * mean) / (n + SNAP_PRIOR) for s, n in zip(sums, counts, strict=True)]
    return np.stack([_log(_ratio(of_kind, mean)) for of_kind in shrunk], axis=2)


def _before(values: npt.NDArray[np.generic], days: int) -> Floats:
    """Return (G, T + 1) sums of the last `days` days before each origin, fewer where there are none."""
    total = np.pad(np.cumsum(values, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return total - np.pad(total, ((0, 0), (days, 0)))[:, : total.shape[1]]


def _weekly(values: npt.NDArray[np.generic], weeks: int) -> Floats:
    """Return (G, T) sums of each day and the same weekday of the weeks before it, `weeks` of them."""
    padded = np.pad(np.asarray(values, np.float64), ((0, 0), (7 * (weeks - 1), 0)))
    return sum((padded[:, 7 * k : 7 * k + values.shape[1]] for k in range(weeks)), np.zeros(values.shape))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the ratios; 0 where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _log(values: Floats) -> Floats:
    """Return the logarithms; 0 where nothing was sold, so that nothing is said."""
    return np.log(values, out=np.zeros_like(values), where=values > 0)
