"""What the series sold on the target's weekday in the last weeks.

Here: the series' own weekdays. Not here: weekday profiles of groups (`season`), single days (`lags`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    everything = np.zeros((2, len(WEEKS)))  # number of days and units of all weekdays, by window
    last_s, last_o = -1, -1
    for row in range(len(series)):
        s, o = series[row], day[row] - horizon[row]
        start = max(release[s], 0)
        if s != last_s or o != last_o:
            _advance(sales, s, o, start, s == last_s and o == last_o + 1, everything)
            last_s, last_o = s, o
        latest = latest_same_weekday(day[row], horizon[row])
        out[row, :] = np.nan
        n, sold = 0, 0
        s1, s2, highest = 0.0, 0.0, 0.0
        for window in range(len(WEEKS)):
            while n < WEEKS[window] and latest - 7 * n >= start:
                y = sales[s, latest - 7 * n]
                s1 += y
                s2 += y * y
                highest = max(highest, y)
                sold += y > 0
                n += 1
            mean = ratio(s1, n)
            out[row, window] = mean
            out[row, len(WEEKS) + window] = ratio(mean, ratio(everything[1, window], everything[0, window]))
            if WEEKS[window] == 13 and n > 0:
                out[row, 8] = np.sqrt(max(s2 - n * mean * mean, 0.0) / (n - 1)) if n > 1 else np.nan
                out[row, 9] = highest
                out[row, 10] = sold / n


@kernel
def _advance(sales: Matrix, s: int, o: int, start: int, slides: bool, sums: npt.NDArray[np.float64]) -> None:
    """Bring the sums over all days of the windows' weeks to the origin, from those at `o - 1` where it slides."""
    for window in range(len(WEEKS)):
        first = max(start, o + 1 - 7 * WEEKS[window])
        if slides and o > start:
            leaving = o - 7 * WEEKS[window]
            sums[0, window] = o + 1 - first
            sums[1, window] += sales[s, o] - (sales[s, leaving] if leaving >= start else 0.0)
        else:
            sums[0, window] = max(o + 1 - first, 0)
            sums[1, window] = 0.0
            for past in range(first, o + 1):
                sums[1, window] += sales[s, past]
