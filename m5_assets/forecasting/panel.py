"""The dense series x day panel of what is known at one origin, and its file format (one Parquet file per store).

Not here: building a panel from the lake's tables (`history`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.forecasting.closed_days import ClosedDays

HORIZON = 28
"""Days in every forecast, as in the M5 competition."""

SERIES_COLUMNS = ("item_id", "dept_id", "cat_id", "store_id", "state_id")
EVENT_COLUMNS = ("event_name_1", "event_type_1", "event_name_2", "event_type_2")

CALENDAR_KEY = b"m5.calendar"
"""Key of the calendar in the Parquet schema metadata of panel and totals files."""
CLOSED_KEY = b"m5.closed_days"
"""Key of the stores' closed days, in the same place."""


@dataclass(frozen=True)
class Panel:
    """Daily sales of N series over the T days up to the origin, and what is known about the 28 days after it.

    Attributes:
        series: N rows with the columns of `SERIES_COLUMNS`, sorted by store_id, then item_id; index 0..N-1.
        sales: (N, T) float32, daily units sold; zero before a series' first sale.
        price: (N, T + 28) float32, price on each day, in dollars; NaN where the item is not offered.
        release: (N,) int32, the first day with a price, as a day number of this panel; negative if before its first
            day, T + 28 if after its last.
        calendar: T + 28 rows: `date` (datetime64[s]), the columns of `EVENT_COLUMNS` (empty string for none) and one
            boolean column `snap_<state>` per state; index 0..T+27.
        closed: the closed days of its stores, past and ahead.
    """

    series: pd.DataFrame
    sales: npt.NDArray[np.float32]
    price: npt.NDArray[np.float32]
    release: npt.NDArray[np.int32]
    calendar: pd.DataFrame
    closed: ClosedDays

    def __post_init__(self) -> None:
        count, days = self.sales.shape
        shapes = {
            "series": (len(self.series), count),
            "price": (self.price.shape, (count, days + HORIZON)),
            "release": (self.release.shape, (count,)),
            "calendar": (len(self.calendar), days + HORIZON),
        }
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ValueError(
                    f"panel: {name} has shape {found}, expected {expected} for sales of {self.sales.shape}"
                )

    @property
    def days(self) -> int:
        """T, the number of days whose sales are known."""
        return int(self.sales.shape[1])

    @property
    def origin(self) -> pd.Timestamp:
        """The last day whose sales are known."""
        return pd.Timestamp(self.calendar["date"].iloc[self.days - 1])

    @property
    def states(self) -> list[str]:
        """The states with a SNAP column, in the calendar's order."""
        return [c.removeprefix("snap_") for c in self.calendar.columns if c.startswith("snap_")]

    def snap(self) -> npt.NDArray[np.bool_]:
        """Return (T + 28, S) SNAP days by state, in the order of `states`."""
        return self.calendar[[f"snap_{state}" for state in self.states]].to_numpy(bool)

    def select(self, rows: npt.NDArray[np.int64]) -> Panel:
        """Return the panel of the series at these positions."""
        return Panel(
            self.series.iloc[rows].reset_index(drop=True),
            self.sales[rows],
            self.price[rows],
            self.release[rows],
            self.calendar,
            self.closed,
        )

    def stores(self) -> list[tuple[str, Panel]]:
        """Return the panel of each store, in alphabetical order."""
        codes = self.series["store_id"].to_numpy(str)
        return [(store, self.select(np.flatnonzero(codes == store))) for store in np.unique(codes).tolist()]

    def rewind(self, days: int) -> Panel:
        """Return the panel as it was `days` days before its origin, for backtests and training examples."""
        if not 0 <= days < self.days:
            raise ValueError(f"cannot rewind a panel of {self.days} days by {days} days")
        last = self.days - days
        return Panel(
            self.series,
            self.sales[:, :last],
            self.price[:, : last + HORIZON],
            np.minimum(self.release, last + HORIZON).astype(np.int32),
            self.calendar.iloc[: last + HORIZON],
            self.closed,
        )


def concat(panels: Sequence[Panel]) -> Panel:
    """Join the panels of several stores into one, in the given order; their calendars must be equal."""
    first = panels[0]
    for other in panels[1:]:
        if not other.calendar.equals(first.calendar):
            raise ValueError("panels of different days or calendars cannot be joined")
    return Panel(
        pd.concat([p.series for p in panels], ignore_index=True),
        np.concatenate([p.sales for p in panels]),
        np.concatenate([p.price for p in panels]),
        np.concatenate([p.release for p in panels]),
        first.calendar,
        ClosedDays.join(p.closed for p in panels),
    )


def write_panel(panel: Panel, path: Path) -> None:
    """Write the panel as one Parquet file: a row per series, days as fixed-size lists, the calendar in the metadata."""
    days = panel.days
    columns: dict[str, pa.Array] = {
        name: pa.array(panel.series[name].astype(str), pa.string()).dictionary_encode() for name in SERIES_COLUMNS
    }
    columns["release"] = pa.array(panel.release, pa.int32())
    columns["sales"] = _lists(panel.sales.astype(np.int32), days)
    columns["price"] = _lists(panel.price, days + HORIZON)
    table = pa.table(columns).replace_schema_metadata(
        {CALENDAR_KEY: calendar_text(panel.calendar), CLOSED_KEY: panel.closed.text()}
    )
    pq.write_table(table, path, compression="zstd", use_dictionary=True)


def read_panel(source: Path | pa.NativeFile) -> Panel:
    """Read a panel written by `write_panel`, from a file or a buffer (such as a request's body).

    Raises:
        ValueError: the file has no calendar or no closed days in its metadata.
    """
    table = pq.read_table(source)
    metadata = table.schema.metadata or {}
    if not {CALENDAR_KEY, CLOSED_KEY} <= metadata.keys():
        raise ValueError(
            f"{source}: not a panel file of this version (no calendar or closed days in its metadata); the features "
            "job writes panel files"
        )
    return Panel(
        pd.DataFrame({name: table[name].to_pandas().astype(str) for name in SERIES_COLUMNS}),
        _matrix(table["sales"]).astype(np.float32),
        _matrix(table["price"]).astype(np.float32),
        table["release"].to_numpy(),
        calendar_of(metadata[CALENDAR_KEY]),
        ClosedDays.of_text(metadata[CLOSED_KEY]),
    )


@dataclass(frozen=True)
class PanelFiles:
    """Panel files of stores, read one at a time at each iteration."""

    paths: Sequence[Path]

    def __iter__(self) -> Iterator[Panel]:
        """Yield each panel, read when it is needed."""
        return map(read_panel, self.paths)


def calendar_text(calendar: pd.DataFrame) -> bytes:
    """Return a calendar in the form of `Panel.calendar` as JSON."""
    dated = calendar.assign(date=calendar["date"].dt.strftime("%Y-%m-%d"))
    return json.dumps(dated.to_dict(orient="list")).encode()


def calendar_of(text: bytes) -> pd.DataFrame:
    """Parse the calendar from the JSON of `calendar_text`."""
    calendar = pd.DataFrame(json.loads(text))
    calendar["date"] = pd.to_datetime(calendar["date"]).astype("datetime64[s]")
    return calendar


def _lists(values: npt.NDArray[np.generic], width: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    array = column.combine_chunks()
    values: npt.NDArray[np.generic] = array.values.to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return values
