"""The features job (SageMaker Processing): turns the lake's tables into panels and features, one file per store.

    python -m m5_assets.containers.features --origin 2016-05-22 2014-03-31 2011-01-24

The inputs are `sales` and `totals` (weekly files, none after the last origin's week), `prices` and `calendar`. Each
`--origin` has an output of the same name with the folders `panel` (for training and the LSTM), `horizon` (28 rows per
series, for the GBM's predictions) and `totals` (the store-departments' long history). The closed days of the stores are
learned from the totals; `--closed-days` and `--open-days` correct them. The inputs are read only once,
but each origin gets exactly what its own job would get, so its files are the same bytes.

Memory does not grow with the number of stores, because only one store's panel is held at a time. A first pass builds
all panels, writes this instance's share and adds up the aggregates of all stores (on every instance); a second pass
reads the share's panels again and computes their features.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.containers.contract import (
    Report,
    main,
    place,
    processing_input,
    processing_output,
    reporting,
)
from m5_assets.forecasting.closed_days import ClosedDays, Given
from m5_assets.forecasting.features import CATALOGUE, Aggregates, Context, write_horizon
from m5_assets.forecasting.file_names import file_name
from m5_assets.forecasting.history import DailyUnits, WeekFile, build_panel, join_current, read_store, share_series
from m5_assets.forecasting.panel import HORIZON, Panel, read_panel, write_panel
from m5_assets.forecasting.totals.daily_totals import TotalsHistory, write_totals
from m5_assets.forecasting.totals.weekly import history_of, read_weekly_totals

_KEPT_STORES = 12
"""Stores whose sales and prices stay in memory for the next origin: room for M5's ten; others are read again."""


@dataclass(frozen=True)
class Window:
    """What is known at an origin.

    Attributes:
        origin: the last day whose sales are known.
        sales_since: the first day of the sales that its features use.
        totals_since: the first day of the totals.
    """

    origin: dt.date
    sales_since: dt.date
    totals_since: dt.date

    def sees(self, week: WeekFile) -> bool:
        """Return whether the features use this week of sales."""
        return self.sales_since <= week.first_day and week.last_day <= self.origin


@dataclass(frozen=True)
class Tables:
    """The job's inputs for all origins; `panel` and `totals_of` return only what is known at one origin.

    Attributes:
        weeks: weeks of sales, oldest first.
        prices: the file with the prices of all calendar weeks.
        totals: rows of the store-departments' totals.
        calendar: all days.
        given: what the retailer says about closed days.
        keep: number of stores whose tables to keep in memory.
        kept: the tables kept, by store.
    """

    weeks: list[WeekFile]
    prices: Path
    totals: pd.DataFrame
    calendar: pa.Table
    given: Given
    keep: int
    kept: dict[str, tuple[list[DailyUnits], pa.Table]] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Given, keep: int) -> Tables:
        """Read the inputs, except for sales and prices, which are read by store."""
        (prices,), (calendar,) = processing_input("prices"), processing_input("calendar")
        return cls(
            [WeekFile.of(path) for path in processing_input("sales")],
            prices,
            read_weekly_totals(processing_input("totals")),
            pq.read_table(calendar),
            given,
            keep,
        )

    def stores(self, window: Window) -> list[str]:
        """Return the stores of the origin's week, in alphabetical order; others have left.

        Raises:
            ValueError: the sales do not end at the origin.
        """
        weeks = [week for week in self.weeks if window.sees(week)]
        last = max(weeks, key=lambda week: week.last_day, default=None)
        if last is None or last.last_day != window.origin:
            ends = last.last_day if last else None
            raise ValueError(f"the sales end on {ends}, but the features are for {window.origin}")
        return sorted(last.stores)

    def panel(self, window: Window, store: str, closed: ClosedDays) -> Panel:
        """Return a store's panel as of an origin, with its closed days among those of all stores."""
        weeks, prices = self._tables_of(store)
        known = [units for week, units in zip(self.weeks, weeks, strict=True) if window.sees(week)]
        return build_panel(join_current(known), prices, self.calendar, closed)

    def _tables_of(self, store: str) -> tuple[list[DailyUnits], pa.Table]:
        if store in self.kept:
            return self.kept[store]
        found = share_series(week.read(store) for week in self.weeks), read_store(self.prices, store)
        if len(self.kept) < self.keep:
            self.kept[store] = found
        return found

    def totals_of(self, window: Window) -> TotalsHistory:
        """Return the totals as of an origin."""
        dates = self.totals["date"]
        known = self.totals[(dates >= window.totals_since) & (dates <= window.origin)]
        weeks = [week for week in self.weeks if window.sees(week)]
        return history_of(known, self.calendar, weeks, self.given)


def run() -> None:
    """Compute the features of one or several origins."""
    windows, given = _arguments()
    with reporting() as report:
        report.progress(f"reading {len(processing_input('sales'))} weeks of sales", 0.0)
        tables = Tables.read(given, keep=_KEPT_STORES if len(windows) > 1 else 0)
        written = []
        for number, window in enumerate(windows):
            begun = 0.1 + 0.9 * number / len(windows)
            written.append(_write(tables, window, report, begun, 0.9 / len(windows)))
        # The metadata describe the newest origin; only the row count covers all of them.
        report.materialized({**written[-1], "dagster/row_count": HORIZON * sum(each["series"] for each in written)})


def _arguments() -> tuple[list[Window], Given]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--origin",
        nargs=3,
        type=dt.date.fromisoformat,
        action="append",
        required=True,
        metavar=("ORIGIN", "SALES_SINCE", "TOTALS_SINCE"),
        help="last day with known sales, first day of the sales to use, first day of the totals",
    )
    for name, dates in (("--closed-days", "on which stores close"), ("--open-days", "on which stores open")):
        parser.add_argument(name, default="", metavar="[STORE:]MM-DD,…", help=f"dates of any year {dates}")
    found = parser.parse_args()
    return [Window(*days) for days in found.origin], Given.parse(found.closed_days, found.open_days)


def _write(tables: Tables, window: Window, report: Report, begun: float, share: float) -> dict[str, Any]:
    """Write the files of one origin and return its metadata; progress goes from `begun` to `begun + share`."""
    folders = {name: processing_output(f"{window.origin}/{name}") for name in ("panel", "horizon", "totals")}
    stores = tables.stores(window)
    own = place().share(stores)
    totals = tables.totals_of(window)
    if place().rank == 0:
        write_totals(totals, folders["totals"] / "totals.parquet")
    metadata: dict[str, Any] = {"series": 0, "live_series": 0}

    def panels() -> Iterator[Panel]:
        for number, store in enumerate(stores, start=1):
            panel = tables.panel(window, store, totals.closed_days)
            if store in own:
                write_panel(panel, folders["panel"] / f"{file_name(store)}.parquet")
            metadata["series"] += len(panel.series)
            metadata["live_series"] += int((panel.release < panel.days).sum())
            metadata["days_of_history"] = panel.days
            yield panel
            report.progress(f"{window.origin}: panel of {store}", begun + share * 0.4 * number / len(stores))

    aggregates = Aggregates.of(panels())
    for number, store in enumerate(own, start=1):
        context = Context.build(read_panel(folders["panel"] / f"{file_name(store)}.parquet"), aggregates)
        write_horizon(context, store, folders["horizon"] / f"{file_name(store)}.parquet")
        report.progress(f"{window.origin}: features of {store}", begun + share * (0.4 + 0.6 * number / len(own)))
    first_day = window.origin - dt.timedelta(days=metadata["days_of_history"] - 1)
    return {
        **metadata,
        "first_day": first_day.isoformat(),
        "stores": len(stores),
        "days_of_totals": totals.days,
        "closed_days_ahead": totals.closed_days.after(window.origin),
        "features": len(CATALOGUE),
    }


if __name__ == "__main__":
    main(run, failure_file="output/message")
