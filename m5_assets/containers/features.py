"""The features job (SageMaker Processing): the lake's tables in, panels and the horizon's features out, a file a store.

    python -m m5_assets.containers.features --origin 2016-05-22

Inputs `sales` and `totals` (weekly files, none later than the origin's week), `prices`, `calendar`; outputs `panel`
(what training and the LSTM read), `horizon` (28 rows a series: what the GBM predicts from) and `totals` (the
store-departments' long history). On several instances each reads all of the input, because features of a store look at
the other stores, and writes its share of the stores. Not here: how a feature is computed.
"""

from __future__ import annotations

import argparse
import datetime as dt

import pyarrow.parquet as pq

from m5_assets.containers.contract import main, place, processing_input, processing_output, reporting
from m5_assets.forecasting.features import CATALOGUE, Context, write_horizon
from m5_assets.forecasting.history import build_panel, join_weeks
from m5_assets.forecasting.panel import HORIZON, write_panel
from m5_assets.forecasting.totals.history import write_totals
from m5_assets.forecasting.totals.weekly import read_weekly_totals


def run() -> None:
    """Compute the features of one origin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--origin", type=dt.date.fromisoformat, required=True, help="the last day whose sales are known"
    )
    origin = parser.parse_args().origin
    with reporting() as report:
        weeks = processing_input("sales")
        report.progress(f"reading {len(weeks)} weeks of sales", 0.0)
        history = join_weeks(weeks)
        if history.last_day != origin:
            raise ValueError(f"the sales end on {history.last_day}, but the features are those of {origin}")
        (prices,), (calendar,) = processing_input("prices"), processing_input("calendar")
        known = pq.read_table(calendar)
        panel = build_panel(history, pq.read_table(prices), known)
        report.progress(f"a panel of {len(panel.series):,} series x {panel.days} days", 0.2)
        panels, horizons = processing_output("panel"), processing_output("horizon")
        stores = panel.stores()
        own = place().share(stores)
        for store, part in own:
            write_panel(part, panels / f"{store}.parquet")
        totals = read_weekly_totals(processing_input("totals"), known)
        if place().rank == 0:
            write_totals(totals, processing_output("totals") / "totals.parquet")
        report.progress(f"panel and totals of {totals.days} days written", 0.3)
        context = Context.build(panel)
        for number, (store, _) in enumerate(own, start=1):
            write_horizon(context, store, horizons / f"{store}.parquet")
            report.progress(f"features of {store}", 0.3 + 0.7 * number / len(own))
        report.materialized(
            {
                "series": len(panel.series),
                "days_of_history": panel.days,
                "first_day": str(history.first_day),
                "stores": len(stores),
                "days_of_totals": totals.days,
                "features": len(CATALOGUE),
                "dagster/row_count": len(panel.series) * HORIZON,
                "live_series": int((panel.release < panel.days).sum()),
            }
        )


if __name__ == "__main__":
    main(run, failure_file="output/message")
