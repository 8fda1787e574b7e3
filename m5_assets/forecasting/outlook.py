"""A summary of each series around one origin: recent sales, forecasts and prices, as planners look at first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting.panel import HORIZON, SERIES_COLUMNS, Panel

_YEAR = 364
"""Days back to the same days of last year: 52 weeks, so that weekdays match."""
_RECENT = 91
"""Days that define usual sales: 13 weeks, a quarter of a year."""


def outlook(panel: Panel, forecasts: Mapping[str, npt.NDArray[np.floating]]) -> pd.DataFrame:
    """Return N rows, in the panel's order, with `SERIES_COLUMNS` and the columns below.

    - forecast_28 and, for each member, <member>_28: units forecast for the 28 days after the origin.
    - last_28, previous_28: units sold in the 28 days up to the origin, and in the 28 days before those.
    - last_year_28: units sold 364 days before the days of the forecast; null if the panel does not reach that far back
      or the series was not yet on offer on all of those days.
    - zero_days: days since the last sale, up to the origin; without a sale, days since the series is on offer, as far
      as the panel reaches.
    - nonzero_share_91: share of days with a sale among the last 91 (or all days of a shorter panel).
    - usual_28: mean units per 28 days, over the last 91 days or since the series is on offer; 0 if it is not yet.
    - sell_price: price at the origin; null if the series is not on offer.
    - next_price, next_price_date: the first price after the origin that differs from sell_price (or the first price at
      all, if sell_price is null) and its day; null if there is none.
    - first_sale: the panel's first day with a sale; null if there is none.

    Args:
        panel: sales and prices of N series.
        forecasts: (N, 28) daily units of the ensemble and of each of its members, by name.

    Raises:
        ValueError: a forecast has the wrong shape, or the panel has fewer than 56 days.
    """
    count, days = panel.sales.shape
    odd = {name: units.shape for name, units in forecasts.items() if units.shape != (count, HORIZON)}
    if odd or days < 2 * HORIZON:
        raise ValueError(f"outlook: a panel of {count} series and {days} days, forecasts with the wrong shape: {odd}")
    members = [name for name in forecasts if name not in ("average", "ensemble")]
    sold = panel.sales > 0
    since = np.clip(panel.release, 0, days)  # the first day in the panel on which a sale was possible
    return pd.DataFrame(
        {
            **{name: panel.series[name] for name in SERIES_COLUMNS},
            "forecast_28": forecasts["ensemble"].sum(axis=1, dtype=float),
            **{f"{name}_28": units.sum(axis=1, dtype=float) for name, units in forecasts.items() if name in members},
            "last_28": _units(panel.sales[:, -HORIZON:]),
            "previous_28": _units(panel.sales[:, -2 * HORIZON : -HORIZON]),
            "last_year_28": _last_year(panel),
            "zero_days": _zero_days(sold, since),
            "nonzero_share_91": sold[:, -_RECENT:].mean(axis=1),
            "usual_28": _usual(panel.sales, since),
            **_prices(panel),
            "first_sale": _day(panel, sold.argmax(axis=1), np.any(sold, axis=1)),
        }
    )


def _units(sales: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    units: npt.NDArray[np.int32] = np.rint(sales.sum(axis=1, dtype=float)).astype(np.int32)
    return units


def _last_year(panel: Panel) -> pd.Series[int]:
    first = panel.days - _YEAR
    if first < 0:
        return pd.Series(pd.NA, index=panel.series.index, dtype="Int32")
    units = pd.Series(_units(panel.sales[:, first : first + HORIZON]), dtype="Int32")
    return units.mask(panel.release > first)


def _zero_days(sold: npt.NDArray[np.bool_], since: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    days = sold.shape[1]
    after_last_sale = np.where(sold.any(axis=1), days - sold[:, ::-1].argmax(axis=1), 0)
    silent: npt.NDArray[np.int32] = (days - np.maximum(after_last_sale, since)).astype(np.int32)
    return silent


def _usual(sales: npt.NDArray[np.float32], since: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    days = sales.shape[1]
    counted = np.minimum(days - since, _RECENT)
    units = sales[:, -_RECENT:].sum(axis=1, dtype=float)
    usual: npt.NDArray[np.float64] = np.divide(HORIZON * units, counted, out=np.zeros(len(sales)), where=counted > 0)
    return usual


def _prices(panel: Panel) -> dict[str, object]:
    now, ahead = panel.price[:, panel.days - 1], panel.price[:, panel.days :]
    differs = ~np.isnan(ahead) & (ahead != now[:, None])
    changes, first = differs.any(axis=1), differs.argmax(axis=1)
    next_price = np.where(changes, ahead[np.arange(len(ahead)), first], np.float32(np.nan))
    return {
        "sell_price": now,
        "next_price": next_price,
        "next_price_date": _day(panel, panel.days + first, changes),
    }


def _day(panel: Panel, number: npt.NDArray[np.integer], known: npt.NDArray[np.bool_]) -> pd.Series[pd.Timestamp]:
    return pd.Series(panel.calendar["date"].to_numpy()[number]).where(pd.Series(known))
