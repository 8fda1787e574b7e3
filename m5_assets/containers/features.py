"""The features job (SageMaker Processing): the lake's tables in, panels and the horizon's features out, a file a store.

    python -m m5_assets.containers.features --origin 2016-05-22 2014-03-31 2011-01-24

Inputs `sales` and `totals` (weekly files, none later than the last origin's week), `prices`, `calendar`. For every
`--origin` an output of its name, with the folders `panel` (what training and the LSTM read), `horizon` (28 rows a
series: what the GBM predicts from) and `totals` (the store-departments' long history). The inputs are read once; each
origin is then given what a job of its own would have been given, so that its files are the same bytes. On several
instances each reads all of the input, because features of a store look at the other stores, and writes its share of
the stores. Not here: how a feature is computed.
"""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import dataclass
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
from m5_assets.forecasting.features import CATALOGUE, Context, write_horizon
from m5_assets.forecasting.history import DailyUnits, build_panel, join_weeks, read_weeks
from m5_assets.forecasting.panel import HORIZON, Panel, write_panel
from m5_assets.forecasting.totals.history import TotalsHistory, write_totals
from m5_assets.forecasting.totals.weekly import history_of, read_weekly_totals


@dataclass(frozen=True)
class Window:
    """What is known at an origin.

    Attributes:
        origin: the last day whose sales are known.
        sales_since: the first day of the sales that its features see.
        totals_since: the first day of the totals.
    """

    origin: dt.date
    sales_since: dt.date
    totals_since: dt.date


@dataclass(frozen=True)
class Tables:
    """The job's inputs, later origins' sales among them: only `known` gives them to an origin.

    Attributes:
        weeks: of sales, oldest first.
        totals: rows of the store-departments' totals.
        prices: of all calendar weeks.
        calendar: of all days.
    """

    weeks: list[DailyUnits]
    totals: pd.DataFrame
    prices: pa.Table
    calendar: pa.Table

    @classmethod
    def read(cls) -> Tables:
        """Read the inputs."""
        (prices,), (calendar,) = processing_input("prices"), processing_input("calendar")
        return cls(
            read_weeks(processing_input("sales")),
            read_weekly_totals(processing_input("totals")),
            pq.read_table(prices),
            pq.read_table(calendar),
        )

    def known(self, window: Window) -> tuple[Panel, TotalsHistory]:
        """Return the panel and the totals of an origin.

        Raises:
            ValueError: the sales do not end on the origin.
        """
        weeks = [w for w in self.weeks if window.sales_since <= w.first_day and w.last_day <= window.origin]
        history = join_weeks(weeks)
        if history.last_day != window.origin:
            raise ValueError(f"the sales end on {history.last_day}, but the features are those of {window.origin}")
        dates = self.totals["date"]
        totals = self.totals[(dates >= window.totals_since) & (dates <= window.origin)]
        return build_panel(history, self.prices, self.calendar), history_of(totals, self.calendar)


def run() -> None:
    """Compute the features of one or several origins."""
    windows = _windows()
    with reporting() as report:
        report.progress(f"reading {len(processing_input('sales'))} weeks of sales", 0.0)
        tables = Tables.read()
        made = []
        for number, window in enumerate(windows):
            begun = 0.1 + 0.9 * number / len(windows)
            made.append(_write(tables, window, report, begun, 0.9 / len(windows)))
        # What is shown of several origins is the newest one's; only the rows are all of them.
        report.materialized({**made[-1], "dagster/row_count": HORIZON * sum(each["series"] for each in made)})


def _windows() -> list[Window]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--origin",
        nargs=3,
        type=dt.date.fromisoformat,
        action="append",
        required=True,
        metavar=("ORIGIN", "SALES_SINCE", "TOTALS_SINCE"),
        help="the last day whose sales are known, the first day of the sales seen, the first day of the totals",
    )
    return [Window(*days) for days in parser.parse_args().origin]


def _write(tables: Tables, window: Window, report: Report, begun: float, share: float) -> dict[str, Any]:
    """Write the files of one origin and return what is worth to be shown; `share` of the job's work is this."""
    panel, totals = tables.known(window)
    report.progress(f"{window.origin}: a panel of {len(panel.series):,} series x {panel.days} days", begun)
    folders = {name: processing_output(f"{window.origin}/{name}") for name in ("panel", "horizon", "totals")}
    stores = panel.stores()
    own = place().share(stores)
    for store, part in own:
        write_panel(part, folders["panel"] / f"{store}.parquet")
    if place().rank == 0:
        write_totals(totals, folders["totals"] / "totals.parquet")
    context = Context.build(panel)
    for number, (store, _) in enumerate(own, start=1):
        write_horizon(context, store, folders["horizon"] / f"{store}.parquet")
        report.progress(f"{window.origin}: features of {store}", begun + share * (0.2 + 0.8 * number / len(own)))
    return {
        "series": len(panel.series),
        "days_of_history": panel.days,
        "first_day": f"{panel.calendar['date'].iloc[0]:%Y-%m-%d}",
        "stores": len(stores),
        "days_of_totals": totals.days,
        "features": len(CATALOGUE),
        "live_series": int((panel.release < panel.days).sum()),
    }


if __name__ == "__main__":
    main(run, failure_file="output/message")
