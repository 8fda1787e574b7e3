"""The price on the target day: its level, its changes, and its relation to other prices.

Prices are known 28 days in advance.
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting.features.base import Integers, Matrix, Rows, Vector, describe, kernel, ratio
from m5_assets.forecasting.features.context import Context

MEANS = (28, 91, 182, 364)
VOLATILITIES = (91, 364)
YEAR = 364
NEIGHBOURS = ("store_dept", "store_cat", "item")

FEATURES = describe(
    "price",
    "horizon",
    ("price", "dollars", "price on t"),
    ("price_cents", "cents", "cents part of the price on t"),
    ("price_momentum_7", "ratio", "price on t ÷ price on t - 7"),
    ("price_momentum_28", "ratio", "price on t ÷ price on t - 28"),
    ("price_momentum_91", "ratio", "price on t ÷ price on t - 91"),
    ("price_ratio_origin", "ratio", "price on t ÷ price on o"),
    *((f"price_ratio_mean_{w}", "ratio", f"price on t ÷ mean of the {w} days up to t on offer") for w in MEANS),
    ("price_ratio_max_364", "ratio", "price on t ÷ maximum of the 364 days up to t"),
    ("price_ratio_min_364", "ratio", "price on t ÷ minimum of the 364 days up to t"),
    *((f"price_volatility_{w}", "ratio", f"standard deviation ÷ mean, {w} days up to t") for w in VOLATILITIES),
    ("price_changes_364", "changes", "price changes in the 364 days up to t"),
    ("days_since_price_change", "days", "days since the price on t took effect, at most 363"),
    ("price_last_change", "ratio", "price on t ÷ the price before it"),
    ("price_discount_share_28", "share", "share of the 28 days up to t below the maximum of the 364 days up to t"),
    *((f"price_ratio_{level}", "ratio", f"price on t ÷ mean price of the {level} on t") for level in NEIGHBOURS),
    ("price_relative_momentum_28", "ratio", "price_momentum_28 ÷ that of the store's department"),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    _history(context.price, rows.series, rows.day, rows.origin, out)
    for column, level in enumerate(NEIGHBOURS, start=18):
        out[:, column] = out[:, 0] / context.mean_price[level][context.codes[level][rows.series], rows.day]
    group, mean = context.codes["store_dept"][rows.series], context.mean_price["store_dept"]
    before = np.where(rows.day >= 28, mean[group, rows.day - 28], np.nan)
    out[:, 21] = out[:, 3] / (mean[group, rows.day] / before)


@kernel
def _history(price: Matrix, series: Integers, day: Integers, origin: Integers, out: Matrix) -> None:
    since = np.empty(price.shape[1], np.int32)
    last = -1
    for row in range(len(series)):
        s, t = series[row], day[row]
        now = price[s, t]
        if np.isnan(now):
            out[row, :] = np.nan
            continue
        if s != last:
            _find_changes(price[s], since)
            last = s
        out[row, 0] = now
        out[row, 1] = np.round(now * 100) % 100
        out[row, 2] = now / price[s, t - 7] if t >= 7 else np.nan
        out[row, 3] = now / price[s, t - 28] if t >= 28 else np.nan
        out[row, 4] = now / price[s, t - 91] if t >= 91 else np.nan
        out[row, 5] = now / price[s, origin[row]]
        _year(price[s], since, t, out[row])


@kernel
def _find_changes(price: Vector, since: Integers) -> None:
    """Fill `since` with the day from which each day's price (or lack of one) has held without a break."""
    since[0] = 0
    for day in range(1, len(price)):
        same = price[day] == price[day - 1] or (np.isnan(price[day]) and np.isnan(price[day - 1]))
        since[day] = since[day - 1] if same else day


@kernel
def _year(price: Vector, since: Integers, t: int, out: Vector) -> None:
    """Fill columns 6 to 17 in one pass over the year before t, backwards, one price at a time."""
    now = price[t]
    highest, lowest, after = now, now, now
    changes, window = 0, 0
    # Sums of differences from the price of t, so that a constant price has a spread of exactly zero.
    count, total, square = 0, 0.0, 0.0
    out[15], out[16] = 0, np.nan
    days, k = min(YEAR, t + 1), 0
    while k < days:
        p = price[t - k]
        length = min(t - k + 1 - since[t - k], min(days, MEANS[window]) - k)
        if not np.isnan(p):
            count += length
            total, square = _add_days(total, square, p - now, length)
            highest, lowest = max(highest, p), min(lowest, p)
            if p != after:
                changes += 1
                if changes == 1:
                    out[16] = now / p
                after = p
            elif changes == 0:
                out[15] = k + length - 1
        k += length
        while window < len(MEANS) and (k == MEANS[window] or k == days):
            mean = total / count
            out[6 + window] = now / (now + mean)
            for place in range(len(VOLATILITIES)):
                if VOLATILITIES[place] == MEANS[window]:
                    out[12 + place] = np.sqrt(max(square / count - mean * mean, 0.0)) / (now + mean)
            window += 1
    out[10], out[11] = now / highest, now / lowest
    out[14] = changes
    out[17] = _share_below(price, t, highest)


@kernel
def _add_days(total: float, square: float, difference: float, days: int) -> tuple[float, float]:
    """Add day by day, because a product would round differently."""
    if difference != 0:
        for _ in range(days):
            total += difference
            square += difference * difference
    return total, square


@kernel
def _share_below(price: Vector, t: int, highest: float) -> float:
    below, days = 0, 0
    for k in range(min(28, t + 1)):
        days += not np.isnan(price[t - k])
        below += price[t - k] < highest
    return ratio(below, days)
