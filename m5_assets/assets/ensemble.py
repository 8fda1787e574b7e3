"""The fifth stage: the two models' forecasts averaged and aligned to the totals, in process, a store at a time.

Not here: fitting the weights (`ensemble_weights`).
"""

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

from m5_assets.assets.ensemble_weights import read_weights
from m5_assets.assets.predictions import predictions_by_store, read_totals_forecast, totals_of
from m5_assets.assets.presentation import column_schema, lines_plot, preview
from m5_assets.forecasting.alignment import align
from m5_assets.forecasting.ensemble import Weights, weighted_average
from m5_assets.forecasting.history import DailyUnits
from m5_assets.readers.sales import unbroken_weeks, units_a_day
from m5_assets.resources.lake import Lake, Manifest, MissingInput
from m5_assets.weeks import HORIZON_DAYS, WEEKS, Week

MODELS = ("gbm", "lstm", "average", "ensemble")
_PLOTTED_WEEKS = 12


@dg.asset(
    partitions_def=WEEKS,
    deps=["gbm_predictions", "lstm_predictions", "totals_forecast", "ensemble_weights"],
    group_name="forecast",
    kinds={"parquet"},
    description="The forecast: the weighted average of both models aligned to the totals, with the average and both "
    "models' own beside it, for every product in every store and each of the 28 days after the week.",
)
def ensemble_forecast(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[Any]:
    """Average the models' forecasts."""
    week = Week.parse(context.partition_key)
    names = ("gbm_predictions", "lstm_predictions", "ensemble_weights", "totals_forecast")
    manifests = {name: lake.get(name, week.key) for name in names}
    weights = read_weights(lake, week)
    a_day: list[npt.NDArray[np.float64]] = []
    rows = 0
    with lake.staging() as staged, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for table in _combined(lake, week, manifests, weights):
            if writer is None:
                shown, path = table, staged / "forecast.parquet"
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)  # a row group, so that one store is read without the rest
            rows += table.num_rows
            a_day.append(_units_a_day(table))
        stack.close()
        inputs = {manifest.dataset: manifest.digest for manifest in manifests.values()}
        attributes = {
            "origin": week.origin.isoformat(),
            "rows": rows,
            "lstm_weight": weights.lstm,
            "alignment": weights.alignment,
        }
        lake.publish("ensemble_forecast", week.key, staged, inputs=inputs, attributes=attributes)
    units = dict(zip(MODELS, np.sum(a_day, axis=0), strict=True))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "dagster/column_schema": column_schema(shown),
            "origin": week.origin.isoformat(),
            "gbm_weight": 1 - weights.lstm,
            "lstm_weight": weights.lstm,
            "alignment": weights.alignment,
            "units_before_alignment": float(units["average"].sum()),
            "units": float(units["ensemble"].sum()),
            "total_units_a_day": _totals_plot(lake, week, units),
            "preview": preview(shown),
        }
    )


def _combined(lake: Lake, week: Week, manifests: Mapping[str, Manifest], weights: Weights) -> Iterator[pa.Table]:
    """Yield the forecast store by store: a store's items are aligned to its own totals alone."""
    totals = read_totals_forecast(lake, manifests["totals_forecast"])
    members = (predictions_by_store(lake, manifests[f"{kind}_predictions"]) for kind in ("gbm", "lstm"))
    for gbm, lstm in zip_longest(*members):
        if gbm is None or lstm is None or not gbm.series.equals(lstm.series) or gbm.first_day != lstm.first_day:
            raise dg.Failure(
                f"week {week}: the models forecast different series or days; materialise both predictions again"
            )
        average = weighted_average({"gbm": gbm.units, "lstm": lstm.units}, weights.shares)
        groups, own = totals_of(gbm.series, totals[totals["store_id"].isin(gbm.series["store_id"].unique())])
        yield forecast_table(gbm, lstm.units, average, align(average, groups, own, weights.alignment))


def _units_a_day(table: pa.Table) -> npt.NDArray[np.float64]:
    """Return the (len(MODELS), 28) sums over a table's series."""
    return np.stack([table[name].to_numpy().reshape(-1, HORIZON_DAYS).sum(axis=0, dtype=float) for name in MODELS])


def forecast_table(gbm: DailyUnits, lstm: np.ndarray, average: np.ndarray, ensemble: np.ndarray) -> pa.Table:
    """Return the forecasts of all models side by side: keys, `date`, then a float32 column for each of `MODELS`.

    Args:
        gbm: one member.
        lstm: the other, (N, 28) as all of them.
        average: the weighted average of both, before it is aligned to the totals.
        ensemble: the average aligned to the totals.
    """
    table = gbm.table().rename_columns({"units": "gbm"})
    for name, units in (("lstm", lstm), ("average", average), ("ensemble", ensemble)):
        table = table.append_column(name, pa.array(units.reshape(-1), pa.float32()))
    return table


def read_forecast(lake: Lake, week: Week) -> pa.Table:
    """Return the week's forecast as `forecast_table` made it, of all stores.

    Raises:
        MissingInput: see `forecast_parts`.
    """
    return pa.concat_tables(forecast_parts(lake, week)).unify_dictionaries()


def forecast_parts(lake: Lake, week: Week) -> Iterator[pa.Table]:
    """Yield the week's forecast by whole stores, some at a time.

    Raises:
        MissingInput: the week has no forecast, or one that an earlier version made, without all of `MODELS`.
    """
    remedy = f"run `m5 forecast --week {week}`"
    for table in lake.read_groups(lake.get("ensemble_forecast", week.key, remedy=remedy).files[0]):
        missing = [model for model in MODELS if model not in table.column_names]
        if missing:
            raise MissingInput(f"ensemble_forecast with the column {missing[0]}", week.key, remedy)
        yield table


def _totals_plot(lake: Lake, week: Week, models: Mapping[str, npt.NDArray[np.float64]]) -> dg.MarkdownMetadataValue:
    history = units_a_day(lake, unbroken_weeks(lake, week)[-_PLOTTED_WEEKS:])
    ahead = pd.date_range(week.shift(1).first_day, periods=HORIZON_DAYS)
    lines = {name: pd.Series(units, ahead) for name, units in models.items()}
    return lines_plot({"sales": history, **lines}, f"Units a day, all stores, origin {week.origin}")
