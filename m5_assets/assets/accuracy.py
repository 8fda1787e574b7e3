"""The last stage, four weeks later: how good a week's forecast was, by the competition's own measure.

Not here: the measure (`m5_assets.forecasting.wrmsse`).
"""

from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.assets.ensemble import MODELS, read_forecast, read_sales_weeks
from m5_assets.assets.presentation import bars_plot, column_schema, markdown_table
from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.resources.lake import Lake, MissingInput
from m5_assets.weeks import HORIZON_DAYS, WEEKS, Week, weeks_between

BENCHMARK = "seasonal_naive"
_HORIZON_WEEKS = HORIZON_DAYS // 7


@dg.asset(
    partitions_def=WEEKS,
    deps=[
        "ensemble_forecast",
        dg.AssetDep(
            "raw_sales",
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=1, end_offset=_HORIZON_WEEKS, allow_nonexistent_upstream_partitions=True
            ),
        ),
    ],
    group_name="accuracy",
    kinds={"parquet"},
    description="WRMSSE and bias of each model's forecast of this week, at all twelve levels, with the seasonal naive "
    "beside them. Can be made once the four weeks that the forecast covers are known.",
)
def forecast_accuracy(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[Any]:
    """Score the week's forecast."""
    week = Week.parse(context.partition_key)
    loaded = set(lake.partitions("raw_sales"))
    ahead = weeks_between(week.shift(1), week.shift(_HORIZON_WEEKS))
    unknown = [w.key for w in ahead if w.key not in loaded]
    if unknown:
        remedy = f"the forecast of week {week} can be scored once the sales through {ahead[-1].origin} are loaded"
        raise MissingInput("raw_sales", unknown[0], remedy)
    forecast = read_forecast(lake, week)
    table = pa.Table.from_pandas(score_week(lake, week, forecast, ahead), preserve_index=False)
    with lake.staging() as staged:
        pq.write_table(table, staged / "accuracy.parquet", compression="zstd")
        inputs = {"ensemble_forecast": lake.get("ensemble_forecast", week.key).digest}
        lake.publish("forecast_accuracy", week.key, staged, inputs=inputs, attributes={"rows": table.num_rows})
    frame = table.to_pandas()
    totals = frame[frame["level"] == 0].set_index("model")
    wide = frame.pivot(index=["level", "name"], columns="model", values="wrmsse").reset_index()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table),
            **{f"wrmsse_{model}": float(totals.loc[model, "wrmsse"]) for model in totals.index},
            **{f"bias_{model}": float(totals.loc[model, "bias"]) for model in totals.index},
            "levels": markdown_table(wide),
            "wrmsse": bars_plot(totals["wrmsse"].to_dict(), f"WRMSSE of week {week}"),
        }
    )


def score_week(lake: Lake, week: Week, forecast: pa.Table, ahead: list[Week]) -> pd.DataFrame:
    """Return a row a model and level (0: the score itself) with name, wrmsse and bias."""
    # Loaded here: SciPy takes half a second, which the code location would pay at every start.
    from m5_assets.forecasting import wrmsse
    from m5_assets.forecasting.hierarchy import Hierarchy

    history = read_sales_weeks(lake, [Week.parse(k) for k in lake.partitions("raw_sales") if k <= week.key])
    actual = read_sales_weeks(lake, ahead)
    keys = pd.MultiIndex.from_frame(history.series)
    # A series first sold within the horizon has no weight: its revenue before the origin is zero.
    rows = pd.MultiIndex.from_frame(actual.series).get_indexer(keys)
    sold = np.where((rows >= 0)[:, None], actual.units[rows], 0)
    hierarchy = Hierarchy.of(history.series)
    scales = wrmsse.scales(history.units, hierarchy)
    weights = wrmsse.weights(history.units[:, -HORIZON_DAYS:], _recent_prices(lake, history), hierarchy)
    tables = []
    for model, units in _forecasts(forecast, history).items():
        score = wrmsse.evaluate(units, sold, hierarchy, weights, scales)
        tables.append(score.table().assign(model=model, bias=score.bias))
    return pd.concat(tables, ignore_index=True)[["model", "level", "name", "wrmsse", "bias"]]


def _recent_prices(lake: Lake, history: DailyUnits) -> npt.NDArray[np.float32]:
    def whole(dataset: str) -> pa.Table:
        with lake.filesystem.open_input_file(lake.path(lake.get(dataset).files[0].key)) as stream:
            return pq.read_table(stream)

    recent = DailyUnits(
        history.series,
        history.last_day - pd.Timedelta(days=HORIZON_DAYS - 1),
        history.units[:, -HORIZON_DAYS:],
    )
    return build_panel(recent, whole("sell_prices"), whole("calendar")).price[:, :HORIZON_DAYS]


def _forecasts(forecast: pa.Table, history: DailyUnits) -> dict[str, npt.NDArray[np.float64]]:
    """Return (N, 28) units by model, in the history's order; the seasonal naive repeats the last seven days."""
    keys = forecast.select(["store_id", "item_id"]).take(np.arange(0, forecast.num_rows, HORIZON_DAYS)).to_pandas()
    order = pd.MultiIndex.from_frame(keys).get_indexer(
        pd.MultiIndex.from_frame(history.series[["store_id", "item_id"]])
    )
    if (order < 0).any():
        raise dg.Failure(f"{int((order < 0).sum())} series with sales have no forecast; materialise the week again")
    by_model = {m: forecast[m].to_numpy().astype(float).reshape(-1, HORIZON_DAYS)[order] for m in MODELS}
    naive = np.tile(history.units[:, -7:], _HORIZON_WEEKS).astype(float)
    return {**by_model, BENCHMARK: naive}
