"""Sales of single past days: the days up to the origin, fixed lags of the target day, the last same weekdays."""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, latest_same_weekday
from m5_assets.forecasting.features.context import Context

ORIGIN_LAGS = (1, 2, 3, 4, 5, 6, 7, 14)
TARGET_LAGS = (28, 29, 30, 35, 42, 49, 56, 63, 70, 77, 84, 91, 182, 364)
SAME_WEEKDAYS = 4

FEATURES = describe(
    "lags",
    "origin",
    *(
        (f"origin_lag_{k}", "units", f"y on o + 1 - {k}: lag {k} of the first day after the origin")
        for k in ORIGIN_LAGS
    ),
    *((f"lag_{k}", "units", f"y on t - {k}") for k in TARGET_LAGS),
    *(
        (f"same_weekday_last_{k}", "units", f"y on t's weekday, number {k} counting back from o")
        for k in range(1, SAME_WEEKDAYS + 1)
    ),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features); missing before the release."""
    _lags(context.sales, context.release, rows.series, rows.day, rows.horizon, out)


@kernel
def _lags(sales: Matrix, release: Integers, series: Integers, day: Integers, horizon: Integers, out: Matrix) -> None:
    for row in range(len(series)):
        s, t, h = series[row], day[row], horizon[row]
        start = max(release[s], 0)
        column = 0
        for k in ORIGIN_LAGS:
            d = t - h + 1 - k
            out[row, column] = sales[s, d] if d >= start else np.nan
            column += 1
        for k in TARGET_LAGS:
            out[row, column] = sales[s, t - k] if t - k >= start else np.nan
            column += 1
        latest = latest_same_weekday(t, h)
        for k in range(SAME_WEEKDAYS):
            d = latest - 7 * k
            out[row, column] = sales[s, d] if d >= start else np.nan
            column += 1
