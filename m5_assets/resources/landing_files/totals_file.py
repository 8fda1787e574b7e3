"""Daily store-department totals, read from the optional `sales_store_dept_history.csv` or summed from the item sales.

The file may go back further than the item sales.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing_files.bad_input import EXPORT_AGAIN, BadInput, row_name
from m5_assets.resources.landing_files.csv_file import LandingFile
from m5_assets.resources.landing_files.ids import check_ids
from m5_assets.resources.landing_files.sales_file import (
    UNITS_REMEDY,
    KeyedRows,
    LandedSales,
    check_days,
    day_columns,
    read_days,
)
from m5_assets.resources.landing_files.whole_numbers import TYPES, WHOLE

KEY_COLUMNS = ("store_id", "dept_id")


@dataclass(frozen=True)
class LandedTotals:
    """Daily totals of G store-departments over T days.

    Attributes:
        groups: G rows with the columns of `KEY_COLUMNS`, sorted by them, `cat_id` and `state_id`; index 0..G-1.
        first_day: number of the first day.
        last_day: number of the last day.
        units: (G, T) int32, units sold per day.
    """

    groups: pd.DataFrame
    first_day: int
    last_day: int
    units: npt.NDArray[np.int32]

    def content(self, first_day: int, last_day: int) -> str:
        """Return a hash of the units on these days, as `LandedSales.content` does."""
        columns = slice(first_day - self.first_day, last_day - self.first_day + 1)
        return self._keyed.content_of_days(first_day, last_day, self.units[:, columns])

    @cached_property
    def _keyed(self) -> KeyedRows:
        return KeyedRows.of(self.groups[list(KEY_COLUMNS)], self.first_day, self.units)


def sum_totals(sales: LandedSales) -> LandedTotals:
    """Return the store-department sums of the item sales on all their days."""
    columns = [*KEY_COLUMNS, "cat_id", "state_id"]
    codes = sales.series.groupby(list(KEY_COLUMNS), observed=True).ngroup().to_numpy()  # sorted by the keys
    groups = sales.series[columns].iloc[np.unique(codes, return_index=True)[1]].astype("str").reset_index(drop=True)
    units = np.stack([sales.units[codes == code].sum(axis=0, dtype=np.int32) for code in range(len(groups))])
    return LandedTotals(groups, sales.first_day, sales.last_day, units)


def read_totals(file: LandingFile, calendar: pd.DataFrame) -> LandedTotals:
    """Read and validate the totals; categories and states are the prefixes of M5's department and store names."""
    days = read_days(file, KEY_COLUMNS)
    check_days(file, days, calendar)
    groups, units = _read(file, [f"d_{day}" for day in days])
    for name in KEY_COLUMNS:
        codes, ids = pd.factorize(groups[name])
        check_ids(file, name, ids.tolist(), codes, lambda row: [*groups.iloc[row]])
    twice = groups.duplicated().to_numpy()
    if twice.any():
        rows = (row_name(int(i) + 2, *groups.iloc[i]) for i in np.flatnonzero(twice))
        raise BadInput(file, "duplicate store-departments", "Keep one row for each store and department.", rows)
    order = groups.sort_values(list(KEY_COLUMNS)).index.to_numpy()
    groups = groups.loc[order].reset_index(drop=True)
    groups["cat_id"] = groups["dept_id"].str.rsplit("_", n=1).str[0]
    groups["state_id"] = groups["store_id"].str.rsplit("_", n=1).str[0]
    return LandedTotals(groups, days[0], days[-1], units[order])


def _read(file: LandingFile, names: list[str]) -> tuple[pd.DataFrame, npt.NDArray[np.int32]]:
    cause = ""
    for kind in TYPES:
        types = dict.fromkeys(KEY_COLUMNS, pa.string()) | dict.fromkeys(names, kind)
        try:
            batches = list(file.batches(types))
            units = [day_columns(batch, names) for batch in batches]
        except pa.ArrowInvalid as error:
            cause = cause or str(error)
            continue
        if not any(map(len, units)):
            raise BadInput(file, "contains no store-departments", EXPORT_AGAIN)
        parts = [batch.select(list(KEY_COLUMNS)).to_pandas() for batch in batches]
        return pd.concat(parts, ignore_index=True).astype("str"), np.concatenate(units)
    raise file.refuse_rows(dict.fromkeys(names, WHOLE), KEY_COLUMNS, cause, UNITS_REMEDY)
