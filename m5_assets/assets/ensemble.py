"""The fifth stage: the two models' forecasts averaged and aligned to the totals, in process: it takes a second.

Not here: fitting the weights (`ensemble_weights`).
"""

from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.assets.ensemble_weights import read_weights
from m5_assets.assets.predictions import read_predictions, read_totals_forecast, totals_of
from m5_assets.assets.presentation import column_schema, lines_plot, preview
from m5_assets.assets.sales import read_sales_weeks, unbroken_weeks
from m5_assets.forecasting.alignment import align
from m5_assets.forecasting.ensemble import weighted_average
from m5_assets.forecasting.history import DailyUnits
from m5_assets.resources.lake import Lake, MissingInput
from m5_assets.weeks import WEEKS, Week

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
    manifests = {kind: lake.get(f"{kind}_predictions", week.key) for kind in ("gbm", "lstm")}
    gbm, lstm = (read_predictions(lake, manifest) for manifest in manifests.values())
    if not gbm.series.equals(lstm.series) or gbm.first_day != lstm.first_day:
        raise dg.Failure(
            f"week {week}: the models forecast different series or days; materialise both predictions again"
        )
    manifests |= {name: lake.get(name, week.key) for name in ("ensemble_weights", "totals_forecast")}
    weights = read_weights(lake, week)
    average = weighted_average({"gbm": gbm.units, "lstm": lstm.units}, weights.shares)
    groups, totals = totals_of(gbm.series, read_totals_forecast(lake, manifests["totals_forecast"]))
    combined = align(average, groups, totals, weights.alignment)
    table = forecast_table(gbm, lstm.units, average, combined)
    with lake.staging() as staged:
        pq.write_table(table, staged / "forecast.parquet", compression="zstd")
        inputs = {manifest.dataset: manifest.digest for manifest in manifests.values()}
        attributes = {
            "origin": week.origin.isoformat(),
            "rows": table.num_rows,
            "lstm_weight": weights.lstm,
            "alignment": weights.alignment,
        }
        lake.publish("ensemble_forecast", week.key, staged, inputs=inputs, attributes=attributes)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table),
            "origin": week.origin.isoformat(),
            "gbm_weight": 1 - weights.lstm,
            "lstm_weight": weights.lstm,
            "alignment": weights.alignment,
            "units_before_alignment": float(average.sum(dtype=float)),
            "units": float(combined.sum(dtype=float)),
            "total_units_a_day": _totals_plot(
                lake, week, gbm, {"gbm": gbm.units, "lstm": lstm.units, "average": average, "ensemble": combined}
            ),
            "preview": preview(table),
        }
    )


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
    """Return the week's forecast as `forecast_table` made it.

    Raises:
        MissingInput: the week has no forecast, or one that an earlier version made, without all of `MODELS`.
    """
    remedy = f"run `m5 forecast --week {week}`"
    manifest = lake.get("ensemble_forecast", week.key, remedy=remedy)
    table = lake.read_table(manifest.files[0])
    missing = [model for model in MODELS if model not in table.column_names]
    if missing:
        raise MissingInput(f"ensemble_forecast with the column {missing[0]}", week.key, remedy)
    return table


def _totals_plot(
    lake: Lake,
    week: Week,
    forecast: DailyUnits,
    models: dict[str, np.ndarray],
) -> dg.MarkdownMetadataValue:
    sales = read_sales_weeks(lake, unbroken_weeks(lake, week)[-_PLOTTED_WEEKS:])
    history = pd.Series(
        sales.units.sum(axis=0), pd.date_range(sales.first_day, periods=sales.units.shape[1]), dtype=float
    )
    ahead = pd.date_range(forecast.first_day, periods=forecast.units.shape[1])
    lines = {name: pd.Series(units.sum(axis=0, dtype=float), ahead) for name, units in models.items()}
    return lines_plot({"sales": history, **lines}, f"Units a day, all stores, origin {week.origin}")
