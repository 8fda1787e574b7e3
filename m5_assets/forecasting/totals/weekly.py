"""Converts the lake's weekly tables of totals to a `TotalsHistory`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.forecasting.closed_days import Given
from m5_assets.forecasting.history import WeekFile, covariates
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.daily_totals import GROUP_COLUMNS, TotalsHistory


def read_weekly_totals(files: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of weekly tables of totals, with columns store_id, dept_id, cat_id, state_id, date, units."""
    frame: pd.DataFrame = pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)
    return frame


def history_of(
    frame: pd.DataFrame, calendar: pa.Table, sales: Sequence[WeekFile] = (), given: Given | None = None
) -> TotalsHistory:
    """Return the history in rows of totals.

    Its store-departments are those of the last day; others have left. The totals of a store-department are zeros before
    its first row, when it did not exist, and in weeks whose item sales lack it, as `join_weeks` has it for items.

    Args:
        frame: rows as returned by `read_weekly_totals`.
        calendar: as in `history.build_panel`.
        sales: the weeks of item sales that are known.
        given: closed days that the retailer names.

    Raises:
        ValueError: a store-department has no row, or more than one, for a day on which it existed, or no
            store-department has one; the message names it. Or the calendar does not cover the days.
    """
    keys = list(GROUP_COLUMNS)
    if frame.duplicated([*keys, "date"]).any():
        row = frame[frame.duplicated([*keys, "date"])].iloc[0]
        raise ValueError(f"totals of {row['store_id']}, {row['dept_id']} on {row['date']} occur twice")
    wide: Any = frame.pivot(index=keys, columns="date", values="units").sort_index()
    landed = set(wide.columns)
    wide = wide[wide.iloc[:, -1].notna()]
    wide = wide.reindex(columns=pd.date_range(wide.columns[0], wide.columns[-1]).date)
    lost = _lost(wide, landed, sales)
    if lost.any():
        row, column = np.argwhere(lost)[0]
        raise ValueError(
            f"totals of {'/'.join(wide.index[row][:2])} on {wide.columns[column]} are missing; materialize "
            "store_dept_sales of that week again"
        )
    last = wide.columns[-1] + dt.timedelta(days=HORIZON)
    groups = wide.index.to_frame(index=False).astype(str)
    days = covariates(calendar, wide.columns[0], last)
    return TotalsHistory.learned(groups, wide.fillna(0).to_numpy(np.float32), days, given)


def _lost(wide: Any, landed: set[dt.date], sales: Sequence[WeekFile]) -> npt.NDArray[np.bool_]:
    """Return (G, T) whether a total is missing on a day on which its group existed, or on which all are missing."""
    missing = wide.isna().to_numpy()
    lost: npt.NDArray[np.bool_] = missing & np.logical_or.accumulate(~missing, axis=1)
    for week in sales if lost.any() else ():
        away = [group[:2] not in week.groups for group in wide.index]
        inside = [week.first_day <= day <= week.last_day for day in wide.columns]
        lost &= ~np.outer(away, inside)
    lost |= np.array([day not in landed for day in wide.columns])
    return lost
