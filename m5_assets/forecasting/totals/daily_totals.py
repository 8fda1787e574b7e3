"""The daily totals of the store-departments up to one origin, and their file format.

Not here: building a history from the lake's weekly tables (`weekly`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.forecasting.closed_days import ClosedDays, Flags, Given, learn
from m5_assets.forecasting.hierarchy import Hierarchy
from m5_assets.forecasting.panel import CALENDAR_KEY, CLOSED_KEY, HORIZON, calendar_of, calendar_text

GROUP_COLUMNS = ("store_id", "dept_id", "cat_id", "state_id")


@dataclass(frozen=True)
class TotalsHistory:
    """Daily units of G store-departments over the T days up to the origin, and the calendar of the next 28.

    Attributes:
        groups: G rows with the columns of `GROUP_COLUMNS`, sorted by store_id, then dept_id; index 0..G-1.
        units: (G, T) float32, daily units sold, not negative.
        calendar: T + 28 rows, as `Panel.calendar`: `date`, the columns of `panel.EVENT_COLUMNS` (empty string for
            none) and one boolean column `snap_<state>` per state; index 0..T+27.
        closed_days: the closed days of the stores, past and ahead.
    """

    groups: pd.DataFrame
    units: npt.NDArray[np.float32]
    calendar: pd.DataFrame
    closed_days: ClosedDays

    def __post_init__(self) -> None:
        if self.units.ndim != 2 or 0 in self.units.shape:
            raise ValueError(f"totals: units have shape {self.units.shape}; expected store-departments by days")
        count, days = self.units.shape
        if len(self.groups) != count or len(self.calendar) != days + HORIZON:
            raise ValueError(
                f"totals: {len(self.groups)} groups and a calendar of {len(self.calendar)} days do not match units of "
                f"{self.units.shape}; the calendar needs the days of the units and {HORIZON} more"
            )
        if self.groups.duplicated(["store_id", "dept_id"]).any():
            raise ValueError("totals: a store-department appears twice")
        if not (np.isfinite(self.units).all() and (self.units >= 0).all()):
            row, day = np.argwhere(~(np.isfinite(self.units) & (self.units >= 0)))[0]
            name = f"{self.groups['store_id'].iloc[row]}/{self.groups['dept_id'].iloc[row]}"
            raise ValueError(
                f"totals: units of {name} on {self.dates[day]} are {self.units[row, day]}; "
                "expected a number that is not negative"
            )

    @classmethod
    def of_series(cls, series: pd.DataFrame, units: npt.NDArray[np.number], calendar: pd.DataFrame) -> TotalsHistory:
        """Sum series into their store-departments, and learn the stores' closed days.

        Args:
            series: N rows with at least the columns of `GROUP_COLUMNS`.
            units: (N, T) daily units.
            calendar: T + 28 rows, as `TotalsHistory.calendar`.
        """
        groups = series[list(GROUP_COLUMNS)].drop_duplicates(["store_id", "dept_id"])
        groups = groups.sort_values(["store_id", "dept_id"], ignore_index=True).astype(str)
        sums = np.zeros((len(groups), units.shape[1]))
        np.add.at(sums, group_codes(series, groups), units)
        return cls.learned(groups, sums.astype(np.float32), calendar)

    @classmethod
    def learned(
        cls, groups: pd.DataFrame, units: npt.NDArray[np.float32], calendar: pd.DataFrame, given: Given | None = None
    ) -> TotalsHistory:
        """Return the history with the closed days that it shows, corrected by what the retailer says."""
        return cls(groups, units, calendar, learn(groups["store_id"].to_numpy(str), units, calendar, given))

    @property
    def days(self) -> int:
        """T, the number of days whose sales are known."""
        return int(self.units.shape[1])

    @property
    def dates(self) -> npt.NDArray[np.datetime64]:
        """(T + 28,) the days of the history and of the horizon."""
        return self.calendar["date"].to_numpy().astype("datetime64[D]")

    @property
    def origin(self) -> pd.Timestamp:
        """The last day whose sales are known."""
        return pd.Timestamp(self.calendar["date"].iloc[self.days - 1])

    @property
    def states(self) -> list[str]:
        """The states with a SNAP column, in the calendar's order."""
        return [c.removeprefix("snap_") for c in self.calendar.columns if c.startswith("snap_")]

    def closed(self) -> Flags:
        """Return (G, T + 28) whether each group's store is closed."""
        return self.closed_days.of(self.groups["store_id"].to_numpy(str), self.dates)

    def hierarchy(self) -> Hierarchy:
        """Return the hierarchy of the groups; levels 1 to 9 are the competition's, the others repeat some of them.

        The department stands in for the item, as totals have nothing below it.
        """
        return Hierarchy.of(self.groups.assign(item_id=self.groups["dept_id"]))

    def rewind(self, days: int) -> TotalsHistory:
        """Return the history as it was `days` days before this origin."""
        if not 0 <= days < self.days:
            raise ValueError(f"cannot rewind a history of {self.days} days by {days} days")
        last = self.days - days
        return replace(self, units=self.units[:, :last], calendar=self.calendar.iloc[: last + HORIZON])


def group_codes(series: pd.DataFrame, groups: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (N,) the row of `groups` that each series belongs to.

    Raises:
        ValueError: a series' store-department is not among the groups.
    """
    keys = ["store_id", "dept_id"]
    wanted = pd.MultiIndex.from_frame(series[keys].astype(str))
    codes = pd.MultiIndex.from_frame(groups[keys].astype(str)).get_indexer(wanted)
    if (codes < 0).any():
        store, department = wanted[codes < 0][0]
        raise ValueError(f"no totals of store-department {store}/{department}")
    return codes.astype(np.int64)


def write_totals(history: TotalsHistory, path: Path) -> None:
    """Write one Parquet file: a row per store-department, days as fixed-size lists, the calendar in the metadata."""
    columns: dict[str, pa.Array] = {
        name: pa.array(history.groups[name].astype(str), pa.string()) for name in GROUP_COLUMNS
    }
    columns["units"] = pa.FixedSizeListArray.from_arrays(pa.array(history.units.reshape(-1)), history.days)
    table = pa.table(columns).replace_schema_metadata(
        {CALENDAR_KEY: calendar_text(history.calendar), CLOSED_KEY: history.closed_days.text()}
    )
    pq.write_table(table, path, compression="zstd")


def read_totals(source: Path | pa.BufferReader) -> TotalsHistory:
    """Read a history written by `write_totals`, from a file or a buffer (such as a request's body).

    Raises:
        ValueError: the file has no calendar or closed days in its metadata, or columns are missing.
    """
    table = pq.read_table(source)
    metadata = table.schema.metadata or {}
    missing = [name for name in (*GROUP_COLUMNS, "units") if name not in table.column_names]
    if not {CALENDAR_KEY, CLOSED_KEY} <= metadata.keys() or missing:
        raise ValueError(
            f"{source}: not a file of totals of this version (no calendar or closed days in its metadata, or columns "
            f"missing: {missing})"
        )
    units = table["units"].combine_chunks()
    return TotalsHistory(
        pd.DataFrame({name: table[name].to_pandas().astype(str) for name in GROUP_COLUMNS}),
        units.values.to_numpy().reshape(len(units), -1).astype(np.float32),
        calendar_of(metadata[CALENDAR_KEY]),
        ClosedDays.of_text(metadata[CLOSED_KEY]),
    )
