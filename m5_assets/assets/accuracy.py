"""The last stage, four weeks later: how good a week's forecast was, by the competition's own measure.

Not here: the measure (`m5_assets.forecasting.wrmsse`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.assets.ensemble import MODELS, read_forecast, read_sales_weeks
from m5_assets.assets.presentation import bars_plot, column_schema, markdown_table
from m5_assets.forecasting.ensemble import weighted_average
from m5_assets.forecasting.history import DailyUnits, build_panel
from m5_assets.resources.lake import Lake, MissingInput
from m5_assets.resources.landing import OFFICIAL, BadInput, LandedOfficial
from m5_assets.resources.landing.resource import LandingResource
from m5_assets.weeks import HORIZON_DAYS, WEEKS, Week, weeks_between

if TYPE_CHECKING:  # SciPy takes half a second, which the code location would pay at every start
    from m5_assets.forecasting.hierarchy import Hierarchy

AVERAGE = "average"
"""The models' weighted average before it is aligned to the totals: what the alignment gains is the difference."""
BENCHMARK = "seasonal_naive"
_HORIZON_WEEKS = HORIZON_DAYS // 7
_DAYS = 7


@dataclass(frozen=True)
class Measure:
    """What a week's errors are measured by: G groups of N series.

    Attributes:
        hierarchy: of the series.
        weights: (G,).
        scales: (G,), squared units.
        source: "official" where weights and scales are those of the landed file, "own" where they were computed from
            the sales and prices in the lake.
    """

    hierarchy: "Hierarchy"
    weights: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    source: str


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
    description="WRMSSE and bias of each model's forecast of this week, at all twelve levels and for each week of the "
    "horizon, with the seasonal naive beside them. Can be made once the four weeks that the forecast covers are known.",
)
def forecast_accuracy(
    context: dg.AssetExecutionContext, landing: LandingResource, lake: Lake
) -> dg.MaterializeResult[Any]:
    """Score the week's forecast."""
    week = Week.parse(context.partition_key)
    loaded = set(lake.partitions("raw_sales"))
    ahead = weeks_between(week.shift(1), week.shift(_HORIZON_WEEKS))
    unknown = [w.key for w in ahead if w.key not in loaded]
    if unknown:
        remedy = f"the forecast of week {week} can be scored once the sales through {ahead[-1].origin} are loaded"
        raise MissingInput("raw_sales", unknown[0], remedy)
    try:
        official = landing.open().official()
    except BadInput as problem:
        raise dg.Failure(description=str(problem), allow_retries=False) from problem
    history = read_sales_weeks(lake, [Week.parse(key) for key in sorted(loaded) if key <= week.key])
    origin_day = _day_number(lake, week)
    measure = measure_of(context, lake, history, origin_day, official)
    frame = score_week(lake, week, history, read_sales_weeks(lake, ahead), measure)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    inputs = {"ensemble_forecast": lake.get("ensemble_forecast", week.key).digest}
    if official and measure.source == "official":
        inputs[OFFICIAL] = official.sha256
    attributes = {
        "rows": table.num_rows,
        "series": len(history.series),
        "origin_day": origin_day,
        "weights_and_scales": measure.source,
    }
    with lake.staging() as staged:
        pq.write_table(table, staged / "accuracy.parquet", compression="zstd")
        lake.publish("forecast_accuracy", week.key, staged, inputs=inputs, attributes=attributes)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(table),
            "weights_and_scales": measure.source,
            **_shown(week, frame),
        }
    )


def _shown(week: Week, frame: pd.DataFrame) -> dict[str, Any]:
    whole = frame[frame["horizon_week"] == 0]
    totals = whole[whole["level"] == 0].set_index("model")
    levels = whole.pivot(index=["level", "name"], columns="model", values="wrmsse").reset_index()
    weekly = frame[frame["horizon_week"] > 0]
    weekly = weekly.pivot(index="horizon_week", columns="model", values="wrmsse").reset_index()
    scores = {str(model): float(value) for model, value in totals["wrmsse"].items()}
    return {
        **{f"wrmsse_{model}": value for model, value in scores.items()},
        **{f"bias_{model}": float(value) for model, value in totals["bias"].items()},
        "levels": markdown_table(levels),
        "horizon_weeks": markdown_table(weekly),
        "wrmsse": bars_plot(scores, f"WRMSSE of week {week}"),
    }


def read_accuracy(lake: Lake, week: Week) -> pd.DataFrame:
    """Return the week's accuracy as `score_week` made it.

    Raises:
        MissingInput: the week has not been scored.
    """
    manifest = lake.get("forecast_accuracy", week.key, remedy=f"run `m5 score --week {week}`")
    with lake.filesystem.open_input_file(lake.path(manifest.files[0].key)) as stream:
        frame: pd.DataFrame = pq.read_table(stream).to_pandas()
    return frame


def measure_of(
    context: dg.AssetExecutionContext,
    lake: Lake,
    history: DailyUnits,
    origin_day: int,
    official: LandedOfficial | None,
) -> Measure:
    """Return the official weights and scales where they are landed for this origin and these series, else our own.

    The official scales come from the series' whole history, which the lake may not hold.
    """
    from m5_assets.forecasting import wrmsse
    from m5_assets.forecasting.hierarchy import Hierarchy

    hierarchy = Hierarchy.of(history.series)
    landed = official.at(origin_day) if official else None
    if official is None:
        reason = f"no {OFFICIAL} is landed"
    elif landed is None:
        reason = f"{OFFICIAL} does not hold d_{origin_day}"
    else:
        try:
            return Measure(hierarchy, *wrmsse.from_table(landed, hierarchy), source="official")
        except ValueError as problem:  # a sample, or some stores: the weights are those of other groups
            reason = f"{OFFICIAL} is of other series than the lake's ({problem})"
    context.log.info(f"{reason}: weights and scales are computed from the lake")
    weights = wrmsse.weights(history.units[:, -HORIZON_DAYS:], _recent_prices(lake, history), hierarchy)
    return Measure(hierarchy, weights, wrmsse.scales(history.units, hierarchy), source="own")


def score_week(lake: Lake, week: Week, history: DailyUnits, actual: DailyUnits, measure: Measure) -> pd.DataFrame:
    """Return a row a model, level (0: the score itself) and horizon week, with name, wrmsse and bias.

    Horizon week 0 is all 28 days, with every level; weeks 1 to 4 are seven days each, with level 0 alone.
    """
    # A series first sold within the horizon has no weight: its revenue before the origin is zero.
    rows = pd.MultiIndex.from_frame(actual.series).get_indexer(pd.MultiIndex.from_frame(history.series))
    sold = np.where((rows >= 0)[:, None], actual.units[rows], 0)
    tables = [
        table.assign(model=model)
        for model, units in _forecasts(lake, week, history).items()
        for table in _score(units, sold, measure)
    ]
    columns = ["model", "level", "name", "horizon_week", "wrmsse", "bias"]
    return pd.concat(tables, ignore_index=True)[columns]


def _score(units: npt.NDArray[np.floating], sold: npt.NDArray[np.number], measure: Measure) -> list[pd.DataFrame]:
    from m5_assets.forecasting.wrmsse import evaluate

    tables = []
    for number in range(_HORIZON_WEEKS + 1):
        days = slice((number - 1) * _DAYS, number * _DAYS) if number else slice(None)
        score = evaluate(units[:, days], sold[:, days], measure.hierarchy, measure.weights, measure.scales)
        table = score.table() if number == 0 else score.table().head(1)
        tables.append(table.assign(horizon_week=number, bias=score.bias))
    return tables


def _day_number(lake: Lake, week: Week) -> int:
    days = _whole(lake, "calendar").select(["date", "d"]).to_pandas()
    return int(days.loc[pd.to_datetime(days["date"]) == pd.Timestamp(week.origin), "d"].iloc[0])


def _whole(lake: Lake, dataset: str) -> pa.Table:
    with lake.filesystem.open_input_file(lake.path(lake.get(dataset).files[0].key)) as stream:
        return pq.read_table(stream)


def _recent_prices(lake: Lake, history: DailyUnits) -> npt.NDArray[np.float32]:
    recent = DailyUnits(
        history.series,
        history.last_day - pd.Timedelta(days=HORIZON_DAYS - 1),
        history.units[:, -HORIZON_DAYS:],
    )
    return build_panel(recent, _whole(lake, "sell_prices"), _whole(lake, "calendar")).price[:, :HORIZON_DAYS]


def _forecasts(lake: Lake, week: Week, history: DailyUnits) -> dict[str, npt.NDArray[np.floating]]:
    """Return (N, 28) units by model, in the history's order; the seasonal naive repeats the last seven days."""
    forecast = read_forecast(lake, week)
    keys = forecast.select(["store_id", "item_id"]).take(np.arange(0, forecast.num_rows, HORIZON_DAYS)).to_pandas()
    order = pd.MultiIndex.from_frame(keys).get_indexer(
        pd.MultiIndex.from_frame(history.series[["store_id", "item_id"]])
    )
    if (order < 0).any():
        raise dg.Failure(f"{int((order < 0).sum())} series with sales have no forecast; materialise the week again")
    by_model = {m: forecast[m].to_numpy().reshape(-1, HORIZON_DAYS)[order] for m in MODELS}
    share = lake.get("ensemble_forecast", week.key).attributes["lstm_weight"]
    members = {"gbm": by_model["gbm"], "lstm": by_model["lstm"]}
    average = weighted_average(members, {"gbm": 1 - share, "lstm": share})
    naive = np.tile(history.units[:, -_DAYS:], _HORIZON_WEEKS)
    return {**members, AVERAGE: average, "ensemble": by_model["ensemble"], BENCHMARK: naive}
