"""Calendar events on and around the target day, and distances to the holidays that affect sales.

Events are coded as in `context.EVENT_NAMES` and read at most 28 days past the origin. Holidays follow rules
(`holidays`), so their dates are known years ahead.
"""

from __future__ import annotations

import numpy as np

from m5_assets.forecasting import holidays
from m5_assets.forecasting.features.base import Integers, Matrix, Rows, describe, kernel, look_up
from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.panel import HORIZON

NEAR = 3

FEATURES = (
    *describe(
        "events",
        "horizon",
        ("event", "code", "event on t, 0 for none"),
        ("event_type", "code", "type of the event on t: cultural, national, religious, sporting; 0 for none"),
        ("second_event", "code", "second event on t, 0 for none"),
        ("event_previous_day", "code", "event on t - 1"),
        ("event_next_day", "code", "event on t + 1, if at most 28 days after o"),
        ("event_type_next_day", "code", "type of the event on t + 1, if at most 28 days after o"),
        ("days_to_event", "days", "days from t to the next event at most 28 days after o, 0 on an event"),
        ("days_since_event", "days", "days since the last event up to t, 0 on an event"),
        ("events_nearby", "days", f"days with an event from t - {NEAR} to t + {NEAR}, at most 28 days after o"),
        ("days_to_holiday", "days", "days from t to the next holiday that affects sales, 0 on a holiday"),
        ("days_since_holiday", "days", "days since the last holiday that affects sales, 0 on a holiday"),
    ),
    *describe(
        "events",
        "horizon",
        *(
            (
                f"days_from_{name}",
                "days",
                f"days from {name} to t, from {-holidays.BEFORE} to {holidays.AFTER}; missing further away",
            )
            for name in holidays.NAMES
        ),
    ),
)


def compute(context: Context, rows: Rows, out: Matrix) -> None:
    """Fill `out` (rows, features)."""
    _events(context.event, rows.day, rows.origin, out)
    look_up(context.holiday_nearest, rows.day, out[:, 9:11])
    look_up(context.holiday_distance, rows.day, out[:, 11:])


@kernel
def _events(event: Integers, day: Integers, origin: Integers, out: Matrix) -> None:
    previous, following, before = _around(event[:, 0])
    for row in range(len(day)):
        t = day[row]
        known = origin[row] + HORIZON
        out[row, 0] = event[t, 0]
        out[row, 1] = event[t, 1]
        out[row, 2] = event[t, 2]
        out[row, 3] = event[t - 1, 0] if t > 0 else np.nan
        out[row, 4] = event[t + 1, 0] if t < known else np.nan
        out[row, 5] = event[t + 1, 1] if t < known else np.nan
        out[row, 6] = following[t] - t if following[t] <= known else np.nan
        out[row, 7] = t - previous[t] if previous[t] >= 0 else np.nan
        out[row, 8] = before[min(t + NEAR, known) + 1] - before[max(t - NEAR, 0)]


@kernel
def _around(event: Integers) -> tuple[Integers, Integers, Integers]:
    """Return for each day the last event day up to it (-1 if none), the next from it on, and the number before it."""
    days = len(event)
    previous, following = np.empty(days, np.int32), np.empty(days, np.int32)
    before = np.zeros(days + 1, np.int32)
    last, following_last = -1, days
    for d in range(days):
        last = d if event[d] > 0 else last
        previous[d] = last
        before[d + 1] = before[d] + (event[d] > 0)
        back = days - 1 - d
        following_last = back if event[back] > 0 else following_last
        following[back] = following_last
    return previous, following, before
