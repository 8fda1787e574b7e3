"""The trees' features for a store-department, an origin and one of the 28 days after it.

Sales are divided by their mean over the 28 days before the origin, so one model can serve all store-departments. Not
here: the ridge's regressors (`special_days`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting import holidays
from m5_assets.forecasting.features.context import EVENT_NAMES
from m5_assets.forecasting.hierarchy import Floats
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals import special_days
from m5_assets.forecasting.totals.daily_totals import TotalsHistory

YEAR = 364
"""Days in a year of whole weeks, so that the same day a year ago has the same weekday."""
WINDOWS = (7, 14, 56, 91, 182, 364)
SAME_WEEKDAYS = (1, 2, 4, 8, 13)

VIEWS = ("own", "department", "store", "total")
"""Whose sales the features describe: the store-department's, its department's, its store's, and the total."""
DAY_FEATURES = (
    *("weekday", "day_of_month", "event", "event_previous_day", "second_event", "days_to_holiday"),
    *("days_since_holiday", *(f"days_from_{name}" for name in holidays.NAMES)),
)


def _names() -> tuple[str, ...]:
    crossed, fixed = [], ["store", "department", "category", "state", "snap_share", "log_mean_28", "deviation_28"]
    for view in VIEWS:
        crossed += [f"{view}_same_weekday_{count}" for count in SAME_WEEKDAYS]
        crossed += [f"{view}_{kind}_{year}_years_ago" for year in (1, 2) for kind in ("day", "week")]
        fixed += [f"{view}_mean_{window}" for window in WINDOWS] + [f"{view}_mean_year_ago"]
    return ("horizon", *DAY_FEATURES, "snap", "snap_previous_day", *crossed, *fixed)


NAMES = _names()
"""Names of the F features, in the matrix's column order."""


@dataclass(frozen=True)
class Rows:
    """Features of R = origins x G x 28 rows, in this order.

    Attributes:
        matrix: (R, F) float32; NaN where the history is too short.
        base: (R,) the store-department's mean daily units over the 28 days before the origin.
    """

    matrix: npt.NDArray[np.float32]
    base: Floats


class Builder:
    """Builds rows for origins of one history; they use nothing after their origin but the calendar."""

    def __init__(self, history: TotalsHistory) -> None:
        self._history = history
        units = history.units.astype(np.float64)
        groups = history.groups
        self._codes = np.column_stack([np.unique(groups[c], return_inverse=True)[1] for c in groups.columns])
        self._views = [units, *(_sums(units, groups[c].to_numpy(str)) for c in ("dept_id", "store_id"))]
        self._views.append(np.broadcast_to(units.sum(axis=0), units.shape))
        self._running = [np.pad(np.cumsum(view, axis=1), ((0, 0), (1, 0))) for view in self._views]
        self._day = _day_features(history)
        state = groups["state_id"].to_numpy(str)
        snap = history.calendar.reindex(columns=[f"snap_{s}" for s in state], fill_value=False).to_numpy(float).T
        self._snap = snap

    def build(self, origins: npt.NDArray[np.int64]) -> Rows:
        """Build the rows of these origins, each given as the number of days known (28 or more)."""
        parts = [self._origin(int(origin)) for origin in origins]
        return Rows(np.concatenate([p for p, _ in parts]), np.concatenate([b for _, b in parts]))

    def _origin(self, origin: int) -> tuple[npt.NDArray[np.float32], Floats]:
        count = len(self._codes)
        ahead = np.arange(origin, origin + HORIZON)
        columns = [np.broadcast_to(np.arange(1.0, HORIZON + 1), (count, HORIZON))]
        columns += [np.broadcast_to(day, (count, HORIZON)) for day in self._day[ahead].T]
        columns += [self._snap[:, ahead], self._snap[:, ahead - 1]]
        fixed = [*self._codes.T, self._snap[:, origin - 28 : origin].mean(axis=1)]
        base = self._mean(0, origin, 28)
        fixed += [np.log1p(base), self._deviation(origin)]
        for view in range(len(self._views)):
            scale = self._mean(view, origin, 28)
            fixed += [_ratio(self._mean(view, origin, window), scale) for window in WINDOWS]
            fixed.append(_ratio(self._mean(view, origin - YEAR, 28), scale))
            columns += self._weekdays(view, origin, scale)
            columns += self._years(view, origin)
        columns += [np.broadcast_to(value[:, None], (count, HORIZON)) for value in fixed]
        matrix = np.stack(columns, axis=-1).reshape(count * HORIZON, -1).astype(np.float32)
        return matrix, np.repeat(base, HORIZON)

    def _mean(self, view: int, end: int, window: int) -> Floats:
        """Return (G,) the mean over the `window` days before day `end`; NaN if they begin before the history."""
        running = self._running[view]
        if end - window < 0:
            return np.full(len(running), np.nan)
        mean: Floats = (running[:, end] - running[:, end - window]) / window
        return mean

    def _deviation(self, origin: int) -> Floats:
        recent = self._views[0][:, origin - 28 : origin]
        return _ratio(recent.std(axis=1), recent.mean(axis=1))

    def _weekdays(self, view: int, origin: int, scale: Floats) -> list[Floats]:
        """Return (G, 28) means over the last same weekdays, divided by `scale`, one per length."""
        weeks = np.arange(HORIZON) % 7
        means = []
        for count in SAME_WEEKDAYS:
            if origin < 7 * count:
                means.append(np.full((len(scale), HORIZON), np.nan))
                continue
            recent = self._views[view][:, origin - 7 * count : origin].reshape(len(scale), count, 7).mean(axis=1)
            means.append(_ratio(recent, scale[:, None])[:, weeks])
        return means

    def _years(self, view: int, origin: int) -> list[Floats]:
        """Return (G, 28) sales one and two years ago, of the day and of 7 days around it, divided by the level then."""
        values = []
        for year in (1, 2):
            then = origin - year * YEAR
            if then < 28:
                values += [np.full((len(self._codes), HORIZON), np.nan)] * 2
                continue
            scale = self._mean(view, then, 28)[:, None]
            days = np.arange(then, then + HORIZON)
            running = self._running[view]
            values.append(_ratio(self._views[view][:, days], scale))
            values.append(_ratio((running[:, days + 4] - running[:, days - 3]) / 7, scale))
        return values


def _day_features(history: TotalsHistory) -> Floats:
    """Return (T + 28, len(DAY_FEATURES)) the calendar features of each day."""
    dates = history.dates
    codes = {name: float(code) for code, name in enumerate(EVENT_NAMES, start=1)}
    event = np.array([codes.get(name, 0.0) for name in history.calendar["event_name_1"]])
    second = history.calendar["event_name_2"].to_numpy(str) != ""
    columns = [special_days.weekdays(dates), special_days.days_of_month(dates), event, np.roll(event, 1), second]
    return np.column_stack([*columns, holidays.nearest(dates), holidays.distances(dates)]).astype(np.float64)


def _sums(units: Floats, keys: npt.NDArray[np.str_]) -> Floats:
    """Return (G, T), for each group, the sum over all groups with the same key."""
    sums: Floats = (keys[:, None] == keys[None, :]).astype(np.float64) @ units
    return sums


def _ratio(values: Floats, scale: Floats) -> Floats:
    ratio: Floats = np.divide(values, scale, out=np.full(np.broadcast(values, scale).shape, np.nan), where=scale > 0)
    return ratio
