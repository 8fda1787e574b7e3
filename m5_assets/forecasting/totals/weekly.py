"""Converts the lake's weekly tables of totals to a `TotalsHistory`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.forecasting.history import covariates
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.totals.daily_totals import GROUP_COLUMNS, TotalsHistory


def read_weekly_totals(files: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of weekly tables of totals, with columns store_id, dept_id, cat_id, state_id, date, units."""
    frame: pd.DataFrame = pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)
    return frame


def history_of(frame: pd.DataFrame, calendar: pa.Table) -> TotalsHistory:
    """Return the history in rows of totals.

    Args:
        frame: rows as returned by `read_weekly_totals`.
        calendar: as in `history.build_panel`.

    Raises:
        ValueError: a store-department has no row, or more than one, for a day; the message names it. Or the calendar
            does not cover the days.
    """
    keys = list(GROUP_COLUMNS)
    if frame.duplicated([*keys, "date"]).any():
        row = frame[frame.duplicated([*keys, "date"])].iloc[0]
        raise ValueError(f"totals of {row['store_id']}, {row['dept_id']} on {row['date']} occur twice")
    wide: Any = frame.pivot(index=keys, columns="date", values="units").sort_index()
    days = pd.date_range(wide.columns[0], wide.columns[-1])
    gaps = wide.reindex(columns=days.date).isna()
    if gaps.to_numpy().any():
        row, column = np.argwhere(gaps.to_numpy())[0]
        raise ValueError(f"totals of {'/'.join(wide.index[row][:2])} on {gaps.columns[column]} are missing")
    last = wide.columns[-1] + dt.timedelta(days=HORIZON)
    groups = wide.index.to_frame(index=False).astype(str)
    return TotalsHistory(groups, wide.to_numpy(np.float32), covariates(calendar, wide.columns[0], last))
