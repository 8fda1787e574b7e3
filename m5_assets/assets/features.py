"""The second stage: the features of each origin, computed by SageMaker Processing jobs of up to ten weeks.

A job's inputs name each weekly sales file up to its last week, so nothing later can leak in; within the job, each
earlier week sees only what was known at its own origin.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from m5_assets import asset_groups
from m5_assets.assets.presentation import seen
from m5_assets.partitions import WEEKS
from m5_assets.readers.known_inputs import CLOSED_DAYS, OPEN_DAYS, Known, KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.sagemaker_jobs import HEAVY, JOB_NAME, JobInput, SageMakerJobs
from m5_assets.settings import settings
from m5_assets.weeks import Week

WEEKS_PER_JOB = 10
"""Each week is a separate output, and SageMaker allows a Processing job ten."""


def are_computed(lake: Lake, known: Known, image: str) -> bool:
    """Return whether the lake already holds the features that this image would compute from these inputs."""
    made = lake.find("features", known.week.key)
    if made is None or made.inputs != known.inputs or made.attributes.get("image") != image:
        return False
    return lake.is_intact(made.files)


@dg.asset(
    partitions_def=WEEKS,
    deps=["raw_sales", "store_dept_sales", "sell_prices", "calendar"],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=asset_groups.FEATURES,
    kinds={"sagemaker", "parquet", "numba"},
    pool=HEAVY,
    metadata={
        "sees": f"the sales of the {settings().history_weeks} weeks through the week, all earlier totals, prices and "
        "calendar through the 28 days after it"
    },
    description="What is known at the week's origin: the dense panel of sales, prices and events, and the features of "
    "each of the next 28 days for every product in every store. One file per store; jobs of up to ten weeks.",
)
def features(
    context: dg.AssetExecutionContext, lake: Lake, policy: ForecastPolicy, sagemaker: SageMakerJobs
) -> dg.MaterializeResult[Any]:
    """Compute the features of the weeks that do not have current ones."""
    image = sagemaker.image("features")
    inputs = KnownInputs(lake)
    known = [inputs.at(Week.parse(key), policy) for key in context.partition_keys]
    todo = [each for each in known if not are_computed(lake, each, image)]
    shown: Mapping[str, Any] = {}
    for first in range(0, len(todo), WEEKS_PER_JOB):
        shown = _compute(context, lake, sagemaker, todo[first : first + WEEKS_PER_JOB])
        context.log.info(f"features of {min(first + WEEKS_PER_JOB, len(todo))} of {len(todo)} weeks computed")
    if len(todo) < len(known):
        context.log.info(f"{len(known) - len(todo)} of {len(known)} weeks reused: their inputs have not changed")
    manifests = [lake.get("features", each.week.key) for each in known]
    for each in known:
        context.add_asset_metadata(_seen(each), partition_key=each.week.key)
    return dg.MaterializeResult(
        metadata={
            **shown,
            "weeks_computed": len(todo),
            "bytes": sum(manifest.bytes for manifest in manifests),
            "files": sum(len(manifest.files) for manifest in manifests),
        }
    )


def _seen(known: Known) -> dict[str, Any]:
    """Return what a week sees, for its metadata."""
    return {
        "origin": known.week.origin.isoformat(),
        **seen(
            raw_sales=[str(each.partition) for each in known.sales],
            store_dept_sales=[str(each.partition) for each in known.totals],
        ),
        "weeks_of_history": len(known.sales),
        "weeks_of_totals": len(known.totals),
        "prices_and_calendar_through": known.week.last_forecast_day.isoformat(),
    }


def _compute(
    context: dg.AssetExecutionContext, lake: Lake, sagemaker: SageMakerJobs, weeks: Sequence[Known]
) -> Mapping[str, Any]:
    """Run one job for these weeks, commit its outputs to the lake, and return its metadata."""
    last = weeks[-1].week
    known = {id(each): each for week in weeks for each in (*week.sales, *week.totals, week.prices, week.calendar)}
    lake.verify(file for manifest in known.values() for file in manifest.files)
    outcome = sagemaker.process(
        context,
        "features",
        arguments=[*(argument for each in weeks for argument in _arguments(each)), *given_days(weeks[-1])],
        inputs={
            "sales": JobInput(_list_files(lake, last, "raw_sales", [each.sales for each in weeks]), manifest=True),
            "totals": JobInput(
                _list_files(lake, last, "store_dept_sales", [each.totals for each in weeks]), manifest=True
            ),
            "prices": JobInput(_folder_of(weeks[-1].prices)),
            "calendar": JobInput(_folder_of(weeks[-1].calendar)),
        },
        outputs={
            each.week.origin.isoformat(): f"{lake.folder('features', each.week.key)}/{JOB_NAME}" for each in weeks
        },
    )
    for each in weeks:
        prefix = outcome.prefixes[each.week.origin.isoformat()]
        attributes = {
            "origin": each.week.origin.isoformat(),
            "weeks": len(each.sales),
            "prefix": prefix,
            "image": sagemaker.image("features"),
        }
        lake.commit(lake.collect("features", each.week.key, prefix, inputs=each.inputs, attributes=attributes))
    return outcome.metadata


def _arguments(known: Known) -> list[str]:
    """Return the job's arguments for a week: origin, first day of the sales, first day of the totals."""
    return ["--origin", known.week.origin.isoformat(), str(known.sales[0].partition), str(known.totals[0].partition)]


def given_days(known: Known) -> list[str]:
    """Return the job's arguments for what the retailer says about closed days, the same for all weeks."""
    options = {"--closed-days": known.inputs.get(CLOSED_DAYS), "--open-days": known.inputs.get(OPEN_DAYS)}
    return [part for option, text in options.items() if text for part in (option, text)]


def _folder_of(manifest: Manifest) -> str:
    return manifest.files[0].key.rsplit("/", 1)[0]


def _list_files(lake: Lake, week: Week, dataset: str, windows: Sequence[Sequence[Manifest]]) -> str:
    """Write the S3 manifest that lists the files of all windows, and return its key.

    The key is derived from the content, so the same inputs always give the same request.
    """
    base = f"{dataset}/"
    files = {f.key: None for window in windows for m in window for f in m.files}
    content = json.dumps([{"prefix": lake.uri(base)}, *(key.removeprefix(base) for key in files)], indent=0).encode()
    key = f"{lake.folder('features', week.key)}/inputs/{hashlib.sha256(content).hexdigest()[:12]}.manifest"
    lake.write_bytes(key, content)
    return key
