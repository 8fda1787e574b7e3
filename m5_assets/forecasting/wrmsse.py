"""WRMSSE, the accuracy measure of the M5 competition.

Source: "The M5 Competition: Competitors' Guide" (2020), and Makridakis, Spiliotis & Assimakopoulos, "M5 accuracy
competition: results, findings, and conclusions", International Journal of Forecasting 38 (2022), section 3.

    RMSSE_g = sqrt( mean over the horizon of (y - f)^2  /  scale_g )
    WRMSSE  = sum over all groups g of weight_g * RMSSE_g

Here: scales, weights and scores, from plain arrays. Not here: which groups there are (`hierarchy`), and the
probabilistic measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting.hierarchy import LEVELS, Floats, Hierarchy

_BLOCK = 64
"""Days that `scales` sums at a time: 42,840 groups of them are 22 MB."""


@dataclass(frozen=True)
class Score:
    """How far a forecast was from the sales.

    Attributes:
        hierarchy: of the G groups, in whose order the arrays are.
        wrmsse: the score; 0 is perfect. The mean of `levels`.
        levels: (12,) the WRMSSE of each level alone.
        rmsse: (G,) of every group; NaN where the scale is not defined.
        mae: (G,) the mean absolute error of a day, units.
        biases: (G,) units forecast over units sold, less 1: +0.02 is 2% too many. NaN where nothing was sold.
    """

    hierarchy: Hierarchy
    wrmsse: float
    levels: Floats
    rmsse: Floats
    mae: Floats
    biases: Floats

    @property
    def bias(self) -> float:
        """The bias of the total; that of a whole level is the same, as all levels sum the same series."""
        return float(self.biases[0])

    def table(self) -> pd.DataFrame:
        """Return 13 rows: level 0 is the mean of the twelve levels, the score itself; then the levels.

        Columns: level, name, wrmsse, rmsse (mean of the level's groups whose scale is defined, each counting alike;
        NaN where none is), mae (mean of its groups, units a day) and bias.
        """
        rmsse = [_mean(part) for part in self.hierarchy.split(self.rmsse)]
        mae = [_mean(part) for part in self.hierarchy.split(self.mae)]
        return pd.DataFrame(
            {
                "level": range(len(LEVELS) + 1),
                "name": ["WRMSSE", *(level.name for level in LEVELS)],
                "wrmsse": [self.wrmsse, *self.levels],
                "rmsse": [_mean(np.array(rmsse)), *rmsse],
                "mae": [_mean(np.array(mae)), *mae],
                "bias": self.bias,
            }
        )


def _mean(values: npt.NDArray[np.generic]) -> float:
    defined = values[~np.isnan(values.astype(np.float64))]
    return float(defined.mean()) if len(defined) else float("nan")


def scales(sales: npt.NDArray[np.number], hierarchy: Hierarchy) -> Floats:
    """Return (G,) the mean squared day-to-day change of every group's own summed sales.

    The mean runs over the days after the group's first day with a sale, which is not the day it was first offered;
    zeros at the end count. Memory stays flat in the number of days.

    Args:
        sales: (N, T) units a day up to the origin.
        hierarchy: of the same N series.

    Returns:
        Squared units; NaN for a group without a day after its first sale.
    """
    count = int(hierarchy.offsets[-1])
    squares, days = np.zeros(count), np.zeros(count)
    on_sale = np.zeros(count, dtype=bool)  # up to and with the last day of the block before
    last = np.zeros((count, 1))
    for begin in range(0, sales.shape[1], _BLOCK):
        units = hierarchy.sum(sales[:, begin : begin + _BLOCK])
        started = np.logical_or.accumulate(np.column_stack([on_sale, units != 0]), axis=1)
        change = np.diff(np.column_stack([last, units]), axis=1)
        squares += np.einsum("gd,gd,gd->g", change, change, started[:, :-1])
        days += started[:, :-1].sum(axis=1)
        on_sale, last = started[:, -1], units[:, -1:]
    scale: Floats = np.divide(squares, days, out=np.full(count, np.nan), where=days > 0)
    return scale


def weights(sales: npt.NDArray[np.number], price: npt.NDArray[np.floating], hierarchy: Hierarchy) -> Floats:
    """Return (G,) the weights of the groups: their share of revenue, a twelfth for each level.

    Args:
        sales: (N, 28) units a day on the last 28 days before the forecast.
        price: (N, 28) the price in force on the same days; NaN, not offered, means no revenue.
        hierarchy: of the same N series.

    Raises:
        ValueError: shapes that differ, or no revenue at all.
    """
    if sales.shape != price.shape:
        raise ValueError(f"weights: sales have shape {sales.shape}, prices {price.shape}")
    revenue = (sales.astype(np.float64) * np.nan_to_num(price.astype(np.float64), nan=0.0)).sum(axis=1)
    total = revenue.sum()
    if not total > 0:
        raise ValueError(
            "weights: no revenue in the last 28 days (sales x price sum to zero); no group can be weighted"
        )
    share: Floats = hierarchy.sum(revenue[:, None])[:, 0] / total
    return share / len(LEVELS)


def from_table(table: pd.DataFrame, hierarchy: Hierarchy) -> tuple[Floats, Floats]:
    """Return the weights and scales of a table in the hierarchy's order.

    Args:
        table: one row a group with the columns level (1 to 12), series (the group's label), weight (of which each
            level has a twelfth) and scale, in any order.
        hierarchy: its G groups are exactly the table's.

    Raises:
        ValueError: a group that is missing on either side, or twice in the table.
    """
    found = pd.MultiIndex.from_arrays([table["level"], table["series"].astype(str)])
    wanted = pd.MultiIndex.from_arrays([hierarchy.level_of(), hierarchy.labels])
    odd = found[found.duplicated()].union(found.symmetric_difference(wanted))
    if len(odd):
        raise ValueError(
            f"weights table: {len(odd)} groups missing, unknown or twice, the first (level, series): {odd[0]}"
        )
    row = found.get_indexer(wanted)
    return table["weight"].to_numpy(np.float64)[row], table["scale"].to_numpy(np.float64)[row]


def evaluate(
    forecast: npt.NDArray[np.number],
    actual: npt.NDArray[np.number],
    hierarchy: Hierarchy,
    weights: Floats,
    scales: Floats,
) -> Score:
    """Score a forecast of the bottom series; the groups' forecasts are its sums.

    A group without a defined scale (NaN or 0: no sale yet, or sales that never changed) is not scored, whatever its
    weight: there is nothing to measure its error by.

    Args:
        forecast: (N, H) units a day.
        actual: (N, H) units sold on the same days.
        hierarchy: of the same N series.
        weights: (G,) from `weights` or `from_table`.
        scales: (G,) from `scales` or `from_table`.

    Raises:
        ValueError: shapes that do not match, or a forecast or sale that is not a finite number.
    """
    count = hierarchy.summing.shape[1]
    if forecast.shape != actual.shape or len(forecast) != count:
        raise ValueError(f"WRMSSE: forecast {forecast.shape} and sales {actual.shape} of a hierarchy of {count} series")
    error = np.asarray(forecast, dtype=np.float64) - actual
    if not np.isfinite(error).all():
        row, day = np.argwhere(~np.isfinite(error))[0]
        raise ValueError(f"WRMSSE: the forecast or the sale of series {row}, day {day + 1}, is not a finite number")
    errors, sold = hierarchy.sum(error), hierarchy.sum(actual.sum(axis=1, keepdims=True))[:, 0]
    squared = np.square(errors).mean(axis=1)
    rmsse = np.sqrt(np.divide(squared, scales, out=np.full(len(squared), np.nan), where=scales > 0))
    scored = np.where(np.isnan(rmsse), 0.0, rmsse * weights)
    return Score(
        hierarchy=hierarchy,
        wrmsse=float(scored.sum()),
        levels=np.add.reduceat(scored, hierarchy.offsets[:-1]) * len(LEVELS),
        rmsse=rmsse,
        mae=np.abs(errors).mean(axis=1),
        biases=np.divide(errors.sum(axis=1), sold, out=np.full(len(sold), np.nan), where=sold > 0),
    )
