"""What the series sold on the target's weekday in the last weeks.

Here: the series' own weekdays. Not here: weekday profiles of groups (`season`), single days (`lags`).
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, latest_same_weekday, ratio
from m5_assets.forecasting.features.context import Context

WEEKS = (4, 8, 13, 26)

FEATURES = describe(
    "weekday",
    "origin",
    *((f"same_weekday_mean_{w}", "units/day", f"mean of y on t's weekday, last {w} of them up to o") for w in WEEKS),
    *(
        (f"same_weekday_ratio_{w}", "ratio", f"same_weekday_mean_{w} ÷ mean of y over the same {w} weeks")
        for w in WEEKS
    ),
    ("same_weekday_std_13", "units/day", "standard deviation (n - 1) of y on t's weekday, last 13 of them up to o"),
    ("same_weekday_max_13", "units", "maximum of y on t's weekday, last 13 of them up to o"),
    ("same_weekday_nonzero_share_13", "share", "share of days with a sale among the last 13 of t's weekday up to o"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features); windows are cut at the release."""
    _same_weekday(context.sales, context.release, rows.series, rows.day, rows.horizon, out)


@kernel
def _same_weekday(
    sales: Matrix, release: Integers, series: Integers, day: Integers, horizon: Integers, out: Matrix
) -> None:
    for row in range(len(series)):
        s, o = series[row], day[row] - horizon[row]
        latest = latest_same_weekday(day[row], horizon[row])
        start = max(release[s], 0)
        out[row, :] = np.nan
        n, days, window, sold = 0, 0, 0, 0
        s1, s2, everything, highest = 0.0, 0.0, 0.0, 0.0
        while window < len(WEEKS):
            while n < WEEKS[window] and latest - 7 * n >= start:
                y = sales[s, latest - 7 * n]
                s1 += y
                s2 += y * y
                highest = max(highest, y)
                sold += y > 0
                n += 1
            while days < 7 * WEEKS[window] and o - days >= start:
                everything += sales[s, o - days]
                days += 1
            mean = ratio(s1, n)
            out[row, window] = mean
            out[row, len(WEEKS) + window] = ratio(mean, ratio(everything, days))
            if WEEKS[window] == 13 and n > 0:
                out[row, 8] = np.sqrt(max(s2 - n * mean * mean, 0.0) / (n - 1)) if n > 1 else np.nan
                out[row, 9] = highest
                out[row, 10] = sold / n
            window += 1
