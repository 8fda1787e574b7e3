"""Sales in the lake as arrays, for scores and plots."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting.history import DailyUnits, join_current, join_weeks, read_weeks
from m5_assets.readers.known_inputs import KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.weeks import Week


def unbroken_weeks(lake: Lake, week: Week) -> list[Week]:
    """Return the consecutive weeks of sales in the lake through this week, oldest first."""
    loaded = set(lake.partitions("raw_sales"))
    weeks = [week]
    while weeks[-1].shift(-1).key in loaded:
        weeks.append(weeks[-1].shift(-1))
    return weeks[::-1]


def read_sales_weeks(lake: Lake, weeks: list[Week]) -> DailyUnits:
    """Return the sales of consecutive weeks that are in the lake.

    Raises:
        MissingInput: a week has not been loaded.
    """
    return join_weeks(_read(lake, weeks))


def _read(lake: Lake, weeks: list[Week]) -> list[DailyUnits]:
    files = []
    for week in weeks:
        manifest = lake.get("raw_sales", week.key, remedy=f"materialize raw_sales for week {week}")
        files.append(manifest.files[0])
    return read_weeks(lake.open(file) for file in files)


def known_weeks(lake: Lake, week: Week, policy: ForecastPolicy) -> list[Week]:
    """Return the consecutive weeks of sales through this week, its history window and what the lake has before.

    Raises:
        MissingInput: a week of the window has not been loaded.
    """
    KnownInputs(lake).sales(week, policy)
    return unbroken_weeks(lake, week)


def read_known_sales(lake: Lake, week: Week, policy: ForecastPolicy) -> DailyUnits:
    """Return the sales of the week's series in its `known_weeks`.

    Raises:
        MissingInput: a week has not been loaded.
    """
    return join_current(_read(lake, known_weeks(lake, week, policy)))


def units_a_day(lake: Lake, weeks: list[Week]) -> pd.Series[float]:
    """Return the daily units of all series together; only one row group at a time is in memory."""
    parts = []
    for week in weeks:
        for rows in lake.read_groups(lake.get("raw_sales", week.key).files[0], ["date", "units"]):
            parts.append(rows.to_pandas().groupby("date")["units"].sum())
    sums = pd.concat(parts).groupby(level=0).sum()
    return pd.Series(sums.to_numpy(float), pd.DatetimeIndex(sums.index))


def units_of(series: pd.DataFrame, sales: DailyUnits) -> npt.NDArray[np.int32]:
    """Return the (N, D) sales of these series; zero for a series not in the sales, which was not sold yet."""
    rows = pd.MultiIndex.from_frame(sales.series).get_indexer(pd.MultiIndex.from_frame(series[sales.series.columns]))
    units: npt.NDArray[np.int32] = np.where((rows >= 0)[:, None], sales.units[rows], 0)
    return units
