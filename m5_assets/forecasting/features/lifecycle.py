"""The series' age since its release and its first sale, and the number of stores that offer the item."""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Matrix, Rows, describe
from m5_assets.forecasting.features.context import Context

FEATURES = (
    *describe(
        "lifecycle",
        "horizon",
        ("days_since_release", "days", "days from the first day with a price to t; missing before it: not on sale"),
        ("item_stores", "stores", "stores that offer the item on t"),
    ),
    *describe(
        "lifecycle",
        "origin",
        ("days_on_sale", "days", "known days on sale: from the release, or the panel's first day, to o"),
        ("days_since_first_sale", "days", "days from the first known sale to o"),
    ),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    origin, release = rows.origin, context.release[rows.series]
    first_sale = context.first_sale[rows.series]
    out[:, 0] = np.where(release <= rows.day, rows.day - release, np.nan)
    out[:, 1] = context.offered[context.codes["item"][rows.series], rows.day]
    out[:, 2] = np.where(release <= origin, origin + 1 - np.maximum(release, 0), np.nan)
    out[:, 3] = np.where(first_sale <= origin, origin - first_sale, np.nan)
