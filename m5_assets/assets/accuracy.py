"""The last stage: scores a week's forecast by the competition's measure, WRMSSE, once its four weeks are known."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets import asset_groups
from m5_assets.assets.presentation import bars_plot, column_schema, grouped_bars_plot, shown_table
from m5_assets.forecasting.alignment import align
from m5_assets.forecasting.history import DailyUnits
from m5_assets.model_specs import AVERAGE, ENSEMBLE, FORECASTS, MEMBER_NAMES
from m5_assets.partitions import WEEKS
from m5_assets.readers.accuracy_tables import AGGREGATES_FILE, LEVELS_FILE
from m5_assets.readers.forecasts import read_forecast, read_totals_forecast, totals_of
from m5_assets.readers.known_inputs import digest_of
from m5_assets.readers.sales import read_known_sales, read_sales_weeks, units_of
from m5_assets.readers.scoring import Measure, day_number, landed_official, measure_of
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest, MissingInput
from m5_assets.resources.landing_files import OFFICIAL
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.weeks import HORIZON_DAYS, Week, weeks_between

if TYPE_CHECKING:  # SciPy takes half a second, which would slow down every start of the code location
    from m5_assets.forecasting.wrmsse import Score

BENCHMARK = "seasonal_naive"
"""The forecast that repeats the last seven days."""
ALIGNED = {member: f"{member}_aligned" for member in MEMBER_NAMES}
"""Each member aligned to the totals on its own, to show what averaging adds once everything is aligned."""
SCORED = (*MEMBER_NAMES, AVERAGE, *ALIGNED.values(), ENSEMBLE, BENCHMARK)
"""The forecasts that are scored, in the order of the tables."""

_ITEM_LEVEL = 10
"""From this level on, groups are single items: too many to keep every group's accuracy for every model."""
_HORIZON_WEEKS = HORIZON_DAYS // 7
_DAYS = 7

Units = npt.NDArray[np.floating]


@dg.asset(
    partitions_def=WEEKS,
    deps=["ensemble_forecast", "totals_forecast", "raw_sales"],
    group_name=asset_groups.ACCURACY,
    kinds={"parquet"},
    metadata={
        "sees": f"the week's forecast, the sales of the {_HORIZON_WEEKS} weeks after the week, all sales through the "
        "week that have been loaded"
    },
    description="WRMSSE, RMSSE, mean absolute error and bias of each model's forecast of this week, at all twelve "
    "levels, for each week of the horizon and for each aggregate, with the seasonal naive for comparison. Can be "
    "computed once the sales of the four forecast weeks are known.",
)
def forecast_accuracy(
    context: dg.AssetExecutionContext, landing: LandingFolder, lake: Lake, policy: ForecastPolicy
) -> dg.MaterializeResult[Any]:
    """Score the week's forecast."""
    week = Week.parse(context.partition_key)
    loaded = set(lake.partitions("raw_sales"))
    ahead = weeks_between(week.shift(1), week.shift(_HORIZON_WEEKS))
    unknown = [w.key for w in ahead if w.key not in loaded]
    if unknown:
        remedy = f"the forecast of week {week} can be scored once the sales through {ahead[-1].origin} are loaded"
        raise MissingInput("raw_sales", unknown[0], remedy)
    official = landed_official(landing)
    made = read_forecast(lake, week)
    history = forecast_series(read_known_sales(lake, week, policy), made)
    origin_day = day_number(lake, week)
    measure = measure_of(context, lake, history, origin_day, official)
    forecast, totals = _inputs(lake, week)
    forecasts = _forecasts(made, history, read_totals_forecast(lake, totals), forecast.attributes["alignment"])
    sold = units_of(history.series, read_sales_weeks(lake, ahead))
    levels = score_levels(forecasts, sold, measure)
    aggregates = score_aggregates(forecasts, sold, measure, history.series)
    table = pa.Table.from_pandas(levels, preserve_index=False)
    inputs = {
        "ensemble_forecast": forecast.digest,
        "totals_forecast": totals.digest,
        "raw_sales": digest_of([lake.get("raw_sales", w.key) for w in ahead]),
    }
    if official and measure.source == "official":
        inputs[OFFICIAL] = official.sha256
    attributes = {
        "rows": table.num_rows,
        "series": len(history.series),
        "origin_day": origin_day,
        "weights_and_scales": measure.source,
    }
    with lake.staging() as staged:
        pq.write_table(table, staged / LEVELS_FILE, compression="zstd")
        whole = pa.Table.from_pandas(aggregates, preserve_index=False)
        pq.write_table(whole, staged / AGGREGATES_FILE, compression="zstd")
        lake.publish("forecast_accuracy", week.key, staged, inputs=inputs, attributes=attributes)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table),
            "aggregates": len(aggregates),
            "weights_and_scales": measure.source,
            "sees_raw_sales": f"{history.first_day} to {ahead[-1].origin}",
            **_shown(week, levels),
        }
    )


def _inputs(lake: Lake, week: Week) -> tuple[Manifest, Manifest]:
    """Return the manifests of the week's forecast and of the totals it was aligned to.

    Raises:
        dg.Failure: the lake now holds other totals.
    """
    forecast, totals = lake.get("ensemble_forecast", week.key), lake.get("totals_forecast", week.key)
    if forecast.inputs["totals_forecast"] != totals.digest:
        raise dg.Failure(
            f"week {week}: ensemble_forecast was aligned to other totals than those in the lake; materialize it again",
            allow_retries=False,
        )
    return forecast, totals


def _shown(week: Week, frame: pd.DataFrame) -> dict[str, Any]:
    whole = frame[frame["horizon_week"] == 0]
    totals = whole[whole["level"] == 0].set_index("model")
    by_level = whole.pivot(index=["level", "name"], columns="model", values="wrmsse")[list(SCORED)]
    drawn = by_level.loc[1:, [*MEMBER_NAMES, ENSEMBLE, BENCHMARK]]
    drawn = drawn.rename(index=lambda level: f"L{level}", level="level")
    levels = by_level.reset_index()
    weekly = frame[(frame["horizon_week"] > 0) & (frame["level"] == 0)]
    weekly = weekly.pivot(index="horizon_week", columns="model", values="wrmsse").reset_index()
    scores = {str(model): float(value) for model, value in totals["wrmsse"].items()}
    return {
        **{f"wrmsse_{model}": value for model, value in scores.items()},
        **{f"bias_{model}": float(value) for model, value in totals["bias"].items()},
        "levels": shown_table(levels),
        "horizon_weeks": shown_table(weekly),
        "wrmsse": bars_plot(scores, f"WRMSSE of week {week}"),
        "error_by_level": grouped_bars_plot(drawn.droplevel("name"), f"WRMSSE of week {week} by level"),
    }


def score_levels(forecasts: Mapping[str, Units], sold: npt.NDArray[np.number], measure: Measure) -> pd.DataFrame:
    """Return the accuracy by model, horizon week and level.

    Args:
        forecasts: (N, 28) units by model.
        sold: (N, 28) units.
        measure: weights and scales of the same N series.

    Returns:
        One row per model, horizon week (0: all 28 days; 1 to 4: seven days each) and level (0: the mean of the
        twelve), with name, wrmsse, rmsse, mae and bias as in `Score.table`.
    """
    tables = []
    for model, units in forecasts.items():
        for number in range(_HORIZON_WEEKS + 1):
            days = slice((number - 1) * _DAYS, number * _DAYS) if number else slice(None)
            tables.append(
                _score(units[:, days], sold[:, days], measure).table().assign(model=model, horizon_week=number)
            )
    columns = ["model", "level", "name", "horizon_week", "wrmsse", "rmsse", "mae", "bias"]
    return pd.concat(tables, ignore_index=True)[columns]


def score_aggregates(
    forecasts: Mapping[str, Units], sold: npt.NDArray[np.number], measure: Measure, series: pd.DataFrame
) -> pd.DataFrame:
    """Return the accuracy of every group of the hierarchy over all 28 days; of items, for two models only.

    Args:
        forecasts: (N, 28) units by model.
        sold: (N, 28) units.
        measure: weights and scales of the same N series.
        series: the N series.

    Returns:
        One row per model and group: all models at levels 1 to 9, the ensemble and the seasonal naive also at levels 10
        to 12. Columns: model, level, state_id, store_id, cat_id, dept_id, item_id (as in `Hierarchy.keys`), units (sold
        in the 28 days), weight (WRMSSE is the sum of weight x rmsse), rmsse (NaN without a scale), mae (units per day)
        and bias (NaN if nothing was sold).
    """
    groups = measure.hierarchy.keys(series).assign(
        units=measure.hierarchy.sum(sold.sum(axis=1, keepdims=True))[:, 0].astype(np.int64), weight=measure.weights
    )
    tables = []
    for model, units in forecasts.items():
        score = _score(units, sold, measure)
        table = groups.assign(rmsse=score.rmsse, mae=score.mae, bias=score.biases)
        table.insert(0, "model", model)
        is_kept = table["level"] < (_ITEM_LEVEL if model not in (ENSEMBLE, BENCHMARK) else np.inf)
        tables.append(table[is_kept])
    return pd.concat(tables, ignore_index=True)


def _score(units: Units, sold: npt.NDArray[np.number], measure: Measure) -> "Score":
    from m5_assets.forecasting.wrmsse import evaluate

    return evaluate(units, sold, measure.hierarchy, measure.weights, measure.scales)


def forecast_series(history: DailyUnits, forecast: pa.Table) -> DailyUnits:
    """Return the sales of the series that were forecast.

    Left out are series that never sold up to the origin and were added to that week's sales after it was forecast.

    Raises:
        dg.Failure: a series with sales has no forecast.
    """
    lacking = _positions(forecast, history.series) < 0
    if (sold := lacking & history.units.any(axis=1)).any():
        raise dg.Failure(f"{int(sold.sum())} series with sales have no forecast; materialize the week again")
    if not lacking.any():
        return history
    series = history.series[~lacking].reset_index(drop=True)
    return DailyUnits(series, history.first_day, history.units[~lacking])


def _positions(forecast: pa.Table, series: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Return (N,) each series' position in the forecast, -1 if it is not there."""
    keys = forecast.select(["store_id", "item_id"]).take(np.arange(0, forecast.num_rows, HORIZON_DAYS)).to_pandas()
    found: npt.NDArray[np.intp] = pd.MultiIndex.from_frame(keys).get_indexer(
        pd.MultiIndex.from_frame(series[["store_id", "item_id"]])
    )
    return found


def _forecasts(forecast: pa.Table, history: DailyUnits, totals: pd.DataFrame, alignment: float) -> dict[str, Units]:
    """Return (N, 28) units for each model in `SCORED`, in the history's order."""
    order = _positions(forecast, history.series)
    found: dict[str, Units] = {m: forecast[m].to_numpy().reshape(-1, HORIZON_DAYS)[order] for m in FORECASTS}
    groups, daily = totals_of(history.series, totals)
    found |= {name: align(found[member], groups, daily, alignment) for member, name in ALIGNED.items()}
    found[BENCHMARK] = np.tile(history.units[:, -_DAYS:], _HORIZON_WEEKS)
    return {model: found[model] for model in SCORED}
