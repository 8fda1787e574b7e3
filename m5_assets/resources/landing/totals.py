"""`sales_store_dept_history.csv`: the daily totals of store-departments, kept for longer than the detail; optional."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing.files import BadInput, LandingFile, row_name
from m5_assets.resources.landing.sales import UNITS, UNITS_REMEDY, check_days, content_of_days, day_columns, read_days

KEY_COLUMNS = ("store_id", "dept_id")


@dataclass(frozen=True)
class LandedTotals:
    """Daily totals of G store-departments over T days.

    Attributes:
        groups: G rows with the columns of `KEY_COLUMNS`, sorted by them; index 0..G-1.
        first_day: number of the first day.
        last_day: number of the last day.
        units: (G, T) int32, units sold a day.
    """

    groups: pd.DataFrame
    first_day: int
    last_day: int
    units: npt.NDArray[np.int32]

    def content(self, first_day: int, last_day: int) -> str:
        """Name what the file says of these days, as `LandedSales.content` does."""
        columns = slice(first_day - self.first_day, last_day - self.first_day + 1)
        return content_of_days(self.groups.to_csv(index=False), first_day, self.units[:, columns])


def read_totals(file: LandingFile, calendar: pd.DataFrame) -> LandedTotals:
    """Read and check the totals."""
    days = read_days(file, KEY_COLUMNS)
    check_days(file, days, calendar)
    names = [f"d_{day}" for day in days]
    types = dict.fromkeys(KEY_COLUMNS, pa.string()) | dict.fromkeys(names, pa.int32())
    try:
        batches = list(file.batches(types))
        units = (
            np.concatenate([day_columns(batch, names) for batch in batches]) if batches else np.empty((0, 0), np.int32)
        )
    except pa.ArrowInvalid as error:
        raise file.refuse_rows(dict.fromkeys(names, UNITS), KEY_COLUMNS, str(error), UNITS_REMEDY) from None
    if not len(units):
        raise BadInput(file, "holds no store-departments", "Copy or export the file again.")
    groups = pd.concat([batch.select(list(KEY_COLUMNS)).to_pandas() for batch in batches], ignore_index=True).astype(
        "str"
    )
    twice = groups.duplicated().to_numpy()
    if twice.any():
        rows = (row_name(int(i) + 2, *groups.iloc[i]) for i in np.flatnonzero(twice))
        raise BadInput(file, "duplicate store-departments", "Keep one row for each.", rows)
    order = groups.sort_values(list(KEY_COLUMNS)).index.to_numpy()
    return LandedTotals(groups.loc[order].reset_index(drop=True), days[0], days[-1], units[order])
