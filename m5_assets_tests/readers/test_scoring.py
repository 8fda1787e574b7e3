"""Which days' revenue weighs the series."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from m5_assets.forecasting.history import DailyUnits
from m5_assets.readers.scoring import weighed_days

FIRST = dt.date(2016, 1, 1)


def _history(units: np.ndarray) -> DailyUnits:
    return DailyUnits(pd.DataFrame({"item_id": range(len(units))}), FIRST, units)


def test_the_last_28_days_weigh_the_series_also_if_some_of_them_were_closed() -> None:
    units = np.ones((2, 100), np.int32)
    units[:, -20:] = 0
    found = weighed_days(_history(units))
    assert (found.first_day, found.last_day) == (FIRST + dt.timedelta(days=72), FIRST + dt.timedelta(days=99))
    assert np.array_equal(found.units, units[:, -28:])


def test_after_28_closed_days_the_days_before_the_closure_weigh_the_series() -> None:
    units = np.ones((2, 100), np.int32)
    units[:, -35:] = 0
    units[1, -36] = 0  # one series sold on the last open day
    found = weighed_days(_history(units))
    assert (found.first_day, found.last_day) == (FIRST + dt.timedelta(days=37), FIRST + dt.timedelta(days=64))
    assert np.array_equal(found.units, units[:, 37:65])


def test_a_history_without_a_sale_is_returned_as_it_is() -> None:
    found = weighed_days(_history(np.zeros((2, 10), np.int32)))
    assert (found.first_day, found.units.shape) == (FIRST, (2, 10))
