"""The state, store, category and department of the series as codes, in alphabetical order."""

from __future__ import annotations

from m5_assets.forecasting.features.base import Matrix, Rows, describe
from m5_assets.forecasting.features.context import Context

LEVELS = ("state", "store", "cat", "dept")

FEATURES = describe(
    "identity", "horizon", *((level, "code", f"{level} of the series, in alphabetical order") for level in LEVELS)
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features) with the codes."""
    for column, level in enumerate(LEVELS):
        out[:, column] = context.codes[level][rows.series]
