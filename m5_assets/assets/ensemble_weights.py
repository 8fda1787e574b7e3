"""The ensemble's weights for a week, fitted on past weeks whose 28 days are known at its origin.

Not here: the fit itself (`m5_assets.forecasting.ensemble`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets import asset_groups
from m5_assets.assets.presentation import lines_plot, seen, shown_table
from m5_assets.forecasting.ensemble import ALIGNMENTS, Floats, PastWeek, Weights, fit_weights, score_grid, share_grid
from m5_assets.forecasting.history import DailyUnits
from m5_assets.model_specs import MEMBER_NAMES, MEMBERS, PREDICTIONS
from m5_assets.partitions import WEEKS
from m5_assets.readers.forecasts import read_predictions, read_totals_forecast, totals_of
from m5_assets.readers.known_inputs import CALENDAR, PRICES, KnownInputs, digest_of
from m5_assets.readers.sales import known_weeks, read_sales_weeks, units_of
from m5_assets.readers.scoring import day_number, landed_official, measure_of
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import MissingInput
from m5_assets.resources.landing_files import OFFICIAL, LandedOfficial
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.weeks import HORIZON_DAYS, Week

_HORIZON_WEEKS = HORIZON_DAYS // 7
_LOOKBACK_WEEKS = 52
"""A year of past weeks: thirteen that do not overlap, from all seasons."""
_OTHERS = MEMBERS[1:]
"""The members whose shares are fitted; the first gets the rest."""
_GRID = share_grid(MEMBER_NAMES)
_WEIGHTS_FILE, _SCORES_FILE = "weights.json", "scores.parquet"


@dg.asset(
    partitions_def=WEEKS,
    deps=[*PREDICTIONS, "raw_sales", "sell_prices", "calendar"],
    group_name=asset_groups.FORECAST,
    kinds={"parquet"},
    metadata={
        "sees": f"the predictions of the {_LOOKBACK_WEEKS} weeks before the week whose 28 days end by its origin, not "
        "the week's own; all sales through the week that have been loaded"
    },
    description="The members' shares in the ensemble and the strength of the alignment to the totals: the values that "
    "scored best over the past weeks whose 28 days are known at the origin, shrunk towards the settings' defaults.",
)
def ensemble_weights(
    context: dg.AssetExecutionContext, landing: LandingFolder, lake: Lake, policy: ForecastPolicy
) -> dg.MaterializeResult[Any]:
    """Fit the week's weights."""
    week, prior = Week.parse(context.partition_key), policy.prior
    known = known_weeks(lake, week, policy)
    past, official = matured_weeks(lake, week, known), landed_official(landing)
    sources = _sources(lake, official, past, known)
    kept = _kept_grids(lake, week, sources)
    if missing := [each for each in past if each not in kept]:
        kept |= _score_grids(context, lake, official, missing, known)
    grids = {each: kept[each] for each in past}
    weights = fit_weights(list(grids.values()), prior)
    scores = _scores_table(grids)
    text = {
        **_named(weights),
        "alignment": weights.alignment,
        "prior": {**_named(prior), "alignment": prior.alignment},
        "weeks": [each.key for each in past],
    }
    with lake.staging() as staged:
        (staged / _WEIGHTS_FILE).write_text(json.dumps(text, indent=1) + "\n")
        pq.write_table(pa.Table.from_pandas(scores, preserve_index=False), staged / _SCORES_FILE, compression="zstd")
        inputs = {name: digest for named in sources.values() for name, digest in named.items()}
        lake.publish("ensemble_weights", week.key, staged, inputs=inputs, attributes={"weeks": text["weeks"]})
    return dg.MaterializeResult(
        metadata={
            **{f"{name}_weight": share for name, share in weights.shares.items()},
            "alignment": weights.alignment,
            **{f"{name}_prior": share for name, share in _named(prior).items()},
            "alignment_prior": prior.alignment,
            **seen(predictions=[each.key for each in past], raw_sales=[each.key for each in known]),
            "past_weeks": len(past),
            "past_weeks_scored_now": len(missing),
            **_shown(scores),
        }
    )


def _named(weights: Weights) -> dict[str, float]:
    """Return the fitted shares by their names in files and metadata."""
    return {f"{name}_weight": share for name, share in weights.others.items()}


def read_weights(lake: Lake, week: Week) -> Weights:
    """Return the week's weights.

    Raises:
        MissingInput: they have not been fitted.
    """
    remedy = f"run `m5 forecast --week {week}`"
    found = lake.get("ensemble_weights", week.key, remedy=remedy).named(_WEIGHTS_FILE)
    if found is None:
        raise MissingInput(f"ensemble_weights with {_WEIGHTS_FILE}", week.key, remedy)
    with lake.open(found) as stream:
        text = json.loads(stream.read())
    others = {member.name: text[f"{member.name}_weight"] for member in _OTHERS}
    return Weights.of(MEMBER_NAMES, others, text["alignment"])


def matured_weeks(lake: Lake, week: Week, known: Sequence[Week]) -> list[Week]:
    """Return the past weeks to fit on, oldest first.

    All predictions of these weeks are in the lake, their 28 days end no later than the week's origin, and no two of
    them overlap. They are picked greedily, newest first.

    Args:
        lake: holds the predictions.
        week: the week whose weights are fitted; past weeks lie at most a year before it.
        known: consecutive weeks of sales up to `week`; they determine the past weeks' weights and scales.
    """
    predicted = set.intersection(*(set(lake.partitions(dataset)) for dataset in PREDICTIONS))
    first = max(week.shift(-_LOOKBACK_WEEKS), known[0].shift(_HORIZON_WEEKS - 1))
    chosen: list[Week] = []
    for candidate in sorted((Week.parse(key) for key in predicted), reverse=True):
        limit = chosen[-1] if chosen else week
        if candidate >= first and candidate <= limit.shift(-_HORIZON_WEEKS):
            chosen.append(candidate)
    return chosen[::-1]


def _sources(
    lake: Lake, official: LandedOfficial | None, past: Sequence[Week], known: Sequence[Week]
) -> dict[Week, dict[str, str]]:
    """Return the digests of the inputs of each past week's scores, by names that include the week."""
    inputs, sales = KnownInputs(lake), [lake.get("raw_sales", week.key) for week in known] if past else []
    found = {}
    for week in past:
        named = {dataset: lake.get(dataset, week.key).digest for dataset in PREDICTIONS}
        named["raw_sales"] = digest_of(sales[: known.index(week.shift(_HORIZON_WEEKS)) + 1])
        named |= {PRICES: inputs.prices(week), CALENDAR: inputs.calendar(week)}
        if official:
            named[OFFICIAL] = official.sha256
        found[week] = {f"{name} {week}": digest for name, digest in named.items()}
    return found


def _kept_grids(lake: Lake, week: Week, sources: Mapping[Week, Mapping[str, str]]) -> dict[Week, Floats]:
    """Return past weeks' scores that an earlier fit computed from the same inputs.

    Successive fits share nearly all past weeks: compared with four weeks ago, a week has only one more.
    """
    kept: dict[Week, Floats] = {}
    for earlier in (week, *reversed([*sources])):
        if len(kept) == len(sources):
            break
        manifest = lake.find("ensemble_weights", earlier.key)
        file = manifest.named(_SCORES_FILE) if manifest else None
        if manifest is None or file is None or not lake.is_intact([file]):
            continue
        table = lake.read_table(file).to_pandas()
        for past in set(sources) - set(kept):
            scores = table.loc[table["week"] == past.key, "wrmsse"].to_numpy(float)
            if len(scores) == len(_GRID) * len(ALIGNMENTS) and sources[past].items() <= manifest.inputs.items():
                kept[past] = scores.reshape(len(_GRID), len(ALIGNMENTS))
    return kept


def _score_grids(
    context: dg.AssetExecutionContext,
    lake: Lake,
    official: LandedOfficial | None,
    past: Sequence[Week],
    known: list[Week],
) -> dict[Week, Floats]:
    """Return each past week's scores over the grid of weights.

    Raises:
        dg.Failure: the members forecast different series.
    """
    sales, grids = read_sales_weeks(lake, known), {}
    for number, week in enumerate(past, start=1):
        context.log.info(f"scoring week {week} over the grid of weights, {number} of {len(past)}")
        members = {each.name: read_predictions(lake, lake.get(each.predictions, week.key)) for each in MEMBERS}
        series = members[MEMBER_NAMES[0]].series
        if not all(member.series.equals(series) for member in members.values()):
            raise dg.Failure(f"week {week}: the models forecast different series; materialize all predictions again")
        groups, totals = totals_of(series, read_totals_forecast(lake, lake.get("totals_forecast", week.key)))
        units, days = units_of(series, sales), (week.origin - sales.first_day).days + 1
        history = DailyUnits(series, sales.first_day, units[:, :days])
        measure = measure_of(context, lake, history, day_number(lake, week), official)
        actual = units[:, days : days + HORIZON_DAYS]
        errors_by = (measure.hierarchy, measure.weights, measure.scales)
        forecasts = {name: member.units for name, member in members.items()}
        grids[week] = score_grid(PastWeek(forecasts, actual, groups, totals, *errors_by))
    return grids


def _scores_table(grids: dict[Week, Floats]) -> pd.DataFrame:
    """Return one row per past week and grid point: week, each fitted share, alignment, wrmsse."""
    names = [f"{member.name}_weight" for member in _OTHERS]
    rows = [
        (week.key, *(shares[member.name] for member in _OTHERS), alignment, float(grid[row, column]))
        for week, grid in grids.items()
        for row, shares in enumerate(_GRID)
        for column, alignment in enumerate(ALIGNMENTS)
    ]
    frame = pd.DataFrame(rows, columns=["week", *names, "alignment", "wrmsse"])
    return frame.astype({"week": str, **dict.fromkeys([*names, "alignment", "wrmsse"], float)})


def _shown(scores: pd.DataFrame) -> dict[str, Any]:
    """Return metadata that shows the mean score over the grid and each week's best point."""
    if scores.empty:
        return {}
    labels = {f"{member.name}_weight": f"{member.label} weight" for member in _OTHERS}
    best = scores.loc[scores.groupby("week", sort=False)["wrmsse"].idxmin()]
    best = best.rename(columns={name: f"best {label}" for name, label in labels.items()})
    best = best.rename(columns={"alignment": "best alignment", "wrmsse": "WRMSSE"})
    mean = scores.groupby([*labels, "alignment"])["wrmsse"].mean().unstack()
    first = mean.groupby(level=0).min()
    lines = {f"alignment {strength}": first[strength] for strength in ALIGNMENTS[::2]}
    return {
        "weeks": shown_table(best),
        "mean_wrmsse": shown_table(mean.rename_axis(list(labels.values())).reset_index()),
        "calibration": lines_plot(lines, f"Mean WRMSSE of the past weeks by the {next(iter(labels.values()))}"),
    }
