"""WRMSSE, the accuracy measure of the M5 competition.

Source: "The M5 Competition: Competitors' Guide" (2020), and Makridakis, Spiliotis & Assimakopoulos, "M5 accuracy
competition: results, findings, and conclusions", International Journal of Forecasting 38 (2022), section 3.

    RMSSE_g = sqrt( mean over the horizon of (y - f)^2  /  scale_g )
    WRMSSE  = sum over all groups g of weight_g * RMSSE_g
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting.hierarchy import LEVELS, Floats, Hierarchy

_BLOCK = 64
"""Days that `scales` sums at a time: 22 MB for M5's 42,840 groups."""


@dataclass(frozen=True)
class Score:
    """The accuracy of a forecast.

    Attributes:
        hierarchy: the G groups, which give the arrays their order.
        wrmsse: the score, the mean of `levels`; 0 is perfect.
        levels: (12,) WRMSSE of each level alone.
        rmsse: (G,) RMSSE of each group; NaN where the scale is undefined.
        mae: (G,) mean absolute daily error, in units.
        biases: (G,) units forecast divided by units sold, minus 1: +0.02 is 2% too many. NaN where nothing was sold.
    """

    hierarchy: Hierarchy
    wrmsse: float
    levels: Floats
    rmsse: Floats
    mae: Floats
    biases: Floats

    @property
    def bias(self) -> float:
        """The bias of the total. It holds for every level, as each one sums the same series."""
        return float(self.biases[0])

    def table(self) -> pd.DataFrame:
        """Return 13 rows: level 0 is the score itself, the mean of the twelve levels; then the levels.

        Columns: level, name, wrmsse, rmsse (unweighted mean over the level's groups with a defined scale; NaN if there
        are none), mae (mean over its groups, daily units) and bias.
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
    """Return (G,) the mean squared day-to-day change of each group's summed sales.

    The mean is over the days after the group's first sale (not after its release); trailing zeros count. Memory does
    not grow with the number of days.

    Args:
        sales: (N, T) daily units up to the origin.
        hierarchy: hierarchy of the same N series.

    Returns:
        Squared units; NaN for a group without a day after its first sale.
    """
    count = int(hierarchy.offsets[-1])
    squares, days = np.zeros(count), np.zeros(count)
    on_sale = np.zeros(count, dtype=bool)  # through the last day of the previous block
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
    """Return (G,) the weights of the groups: their shares of revenue, each level having a twelfth of the weight.

    Args:
        sales: (N, 28) daily units on the last 28 days before the forecast.
        price: (N, 28) price on the same days; NaN (not offered) counts as no revenue.
        hierarchy: hierarchy of the same N series.

    Raises:
        ValueError: the shapes differ, or there is no revenue.
    """
    if sales.shape != price.shape:
        raise ValueError(f"weights: sales have shape {sales.shape}, prices {price.shape}")
    revenue = (sales.astype(np.float64) * np.nan_to_num(price.astype(np.float64), nan=0.0)).sum(axis=1)
    total = revenue.sum()
    if not total > 0:
        raise ValueError("weights: no revenue in the last 28 days (sales x price is zero), so no group has a weight")
    share: Floats = hierarchy.sum(revenue[:, None])[:, 0] / total
    return share / len(LEVELS)


def from_table(table: pd.DataFrame, hierarchy: Hierarchy) -> tuple[Floats, Floats]:
    """Return the weights and scales in a table, in the hierarchy's order.

    Args:
        table: one row per group, in any order, with the columns level (1 to 12), series (the group's label), weight
            (each level's sum to a twelfth) and scale.
        hierarchy: its G groups must be exactly the table's.

    Raises:
        ValueError: a group is missing on either side or occurs twice in the table.
    """
    found = pd.MultiIndex.from_arrays([table["level"], table["series"].astype(str)])
    wanted = pd.MultiIndex.from_arrays([hierarchy.level_of(), hierarchy.labels])
    odd = found[found.duplicated()].union(found.symmetric_difference(wanted))
    if len(odd):
        raise ValueError(
            f"weights table: {len(odd)} groups missing, unknown or duplicate; the first (level, series) is {odd[0]}"
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

    A group with an undefined scale (NaN or 0: no sale yet, or sales that never changed) is not scored, whatever its
    weight, as there is nothing to scale its error by.

    Args:
        forecast: (N, H) daily units.
        actual: (N, H) units sold on the same days.
        hierarchy: hierarchy of the same N series.
        weights: (G,) from `weights` or `from_table`.
        scales: (G,) from `scales` or `from_table`.

    Raises:
        ValueError: the shapes do not match, or a forecast or sale is not finite.
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
