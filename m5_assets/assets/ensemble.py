"""The fifth stage: the members' forecasts are averaged and aligned to the totals, in process and store by store."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import zip_longest
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets import asset_groups
from m5_assets.assets.ensemble_weights import read_weights
from m5_assets.assets.presentation import column_schema, lines_plot, preview
from m5_assets.forecasting.alignment import align
from m5_assets.forecasting.ensemble import Weights, weighted_average
from m5_assets.forecasting.history import DailyUnits
from m5_assets.model_specs import AVERAGE, ENSEMBLE, FORECASTS, MEMBERS, PREDICTIONS
from m5_assets.partitions import WEEKS
from m5_assets.readers.forecasts import predictions_by_store, read_totals_forecast, totals_of
from m5_assets.readers.sales import unbroken_weeks, units_a_day
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.weeks import HORIZON_DAYS, Week

_PLOTTED_WEEKS = 12

Units = npt.NDArray[np.float32]


@dg.asset(
    partitions_def=WEEKS,
    deps=[*PREDICTIONS, "ensemble_weights"],
    group_name=asset_groups.FORECAST,
    kinds={"parquet"},
    description="The week's forecast for every product in every store and each of the next 28 days: the members' "
    "weighted average, aligned to the totals. Also holds the unaligned average and each member's own forecast.",
)
def ensemble_forecast(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[Any]:
    """Average the members' forecasts and align them to the totals."""
    week = Week.parse(context.partition_key)
    manifests = {name: lake.get(name, week.key) for name in (*PREDICTIONS, "ensemble_weights")}
    weights = read_weights(lake, week)
    a_day: list[npt.NDArray[np.float64]] = []
    rows = 0
    with lake.staging() as staged, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for table in _combined(lake, week, manifests, weights):
            if writer is None:
                shown, path = table, staged / "forecast.parquet"
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)  # one row group, so that a store can be read on its own
            rows += table.num_rows
            a_day.append(_units_a_day(table))
        stack.close()
        inputs = {manifest.dataset: manifest.digest for manifest in manifests.values()}
        attributes = {
            "origin": week.origin.isoformat(),
            "rows": rows,
            **{f"{name}_weight": share for name, share in weights.others.items()},
            "alignment": weights.alignment,
        }
        lake.publish("ensemble_forecast", week.key, staged, inputs=inputs, attributes=attributes)
    units = dict(zip(FORECASTS, np.sum(a_day, axis=0), strict=True))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "dagster/column_schema": column_schema(shown),
            "origin": week.origin.isoformat(),
            **{f"{name}_weight": share for name, share in weights.shares.items()},
            "alignment": weights.alignment,
            "units_before_alignment": float(units["average"].sum()),
            "units": float(units["ensemble"].sum()),
            "total_units_a_day": _totals_plot(lake, week, units),
            "preview": preview(shown),
        }
    )


def _combined(lake: Lake, week: Week, manifests: Mapping[str, Manifest], weights: Weights) -> Iterator[pa.Table]:
    """Yield the forecast store by store; a store's items are aligned to the totals of that store only.

    Raises:
        dg.Failure: the members forecast different series or days.
    """
    totals = read_totals_forecast(lake, manifests["totals_forecast"])
    for stores in zip_longest(*(predictions_by_store(lake, manifests[member.predictions]) for member in MEMBERS)):
        first = stores[0]
        if any(s is None or not s.series.equals(first.series) or s.first_day != first.first_day for s in stores):
            raise dg.Failure(
                f"week {week}: the models forecast different series or days; materialize all predictions again"
            )
        units = {member.name: store.units for member, store in zip(MEMBERS, stores, strict=True)}
        average = weighted_average(units, weights.shares)
        groups, own = totals_of(first.series, totals[totals["store_id"].isin(first.series["store_id"].unique())])
        yield forecast_table(first, units, average, align(average, groups, own, weights.alignment))


def _units_a_day(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the daily sums over all series of a table, shape (len(FORECASTS), 28)."""
    return np.stack([table[name].to_numpy().reshape(-1, HORIZON_DAYS).sum(axis=0, dtype=float) for name in FORECASTS])


def forecast_table(series: DailyUnits, members: Mapping[str, Units], average: Units, ensemble: Units) -> pa.Table:
    """Return all forecasts side by side: keys, `date`, then one float32 column for each of `FORECASTS`.

    Args:
        series: the N series and the 28 days.
        members: (N, 28) units by member.
        average: (N, 28) weighted average of the members, not aligned.
        ensemble: (N, 28) average, aligned to the totals.
    """
    table = series.table().drop_columns("units")
    for name, units in {**members, AVERAGE: average, ENSEMBLE: ensemble}.items():
        table = table.append_column(name, pa.array(units.reshape(-1), pa.float32()))
    return table


def _totals_plot(lake: Lake, week: Week, models: Mapping[str, npt.NDArray[np.float64]]) -> dg.MarkdownMetadataValue:
    history = units_a_day(lake, unbroken_weeks(lake, week)[-_PLOTTED_WEEKS:])
    ahead = pd.date_range(week.shift(1).first_day, periods=HORIZON_DAYS)
    lines = {name: pd.Series(units, ahead) for name, units in models.items()}
    return lines_plot({"sales": history, **lines}, f"Units per day, all stores, origin {week.origin}")
