"""The second stage: features of one origin, by a SageMaker Processing job.

The job sees the weekly sales files up to its own week by name, so nothing later can leak in. Not here: how a feature is
computed (`m5_assets.forecasting.features`) and the program of the job (`m5_assets.containers.features`).
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import dagster as dg

from m5_assets.resources.jobs import HEAVY, JOB_NAME, JobInput, SageMakerJobs
from m5_assets.resources.lake import Lake, Manifest, MissingInput
from m5_assets.settings import settings
from m5_assets.weeks import WEEKS, Week, week_containing, weeks_between


def totals_window(lake: Lake, week: Week) -> list[Manifest]:
    """Return all landed weeks of the store-departments' totals up to this one, oldest first.

    Raises:
        MissingInput: a week has not been loaded, though the landed files held it.
    """
    remedy = f"run `m5 forecast --week {week}`, or materialise store_dept_sales for all weeks up to {week}"
    own = lake.get("store_dept_sales", week.key, remedy=remedy)
    window = weeks_between(week_containing(dt.date.fromisoformat(own.attributes["landed_first_day"])), week)
    return _present(lake, "store_dept_sales", window, remedy)


def _present(lake: Lake, dataset: str, window: list[Week], remedy: str) -> list[Manifest]:
    present = set(lake.partitions(dataset))
    missing = [w.key for w in window if w.key not in present]
    if missing:
        raise MissingInput(dataset, missing[0], f"and {len(missing) - 1} weeks more; {remedy}")
    return [lake.get(dataset, w.key) for w in window]


def sales_window(lake: Lake, week: Week) -> list[Manifest]:
    """Return the weeks of sales that this week's features see, oldest first.

    Raises:
        MissingInput: a week of the window has not been loaded, though the landed file held it.
        dg.Failure: the landed history is shorter than `M5_MIN_HISTORY_WEEKS`.
    """
    remedy = f"run `m5 forecast --week {week}`, or materialise raw_sales for all weeks up to {week}"
    own = lake.get("raw_sales", week.key, remedy=remedy)
    landed = week_containing(dt.date.fromisoformat(own.attributes["landed_first_day"]))
    window = weeks_between(max(landed, week.shift(1 - settings().history_weeks)), week)
    if len(window) < settings().min_history_weeks:
        raise dg.Failure(
            f"week {week} has {len(window)} weeks of sales behind it, fewer than M5_MIN_HISTORY_WEEKS="
            f"{settings().min_history_weeks}; land a longer history or forecast a later week",
            allow_retries=False,
        )
    return _present(lake, "raw_sales", window, remedy)


# Back to the first week of all; what the landed files do not reach does not exist.
_ALL_EARLIER = dg.TimeWindowPartitionMapping(start_offset=-520, allow_nonexistent_upstream_partitions=True)


@dg.asset(
    partitions_def=WEEKS,
    deps=[
        dg.AssetDep(
            "raw_sales",
            # As far back as the landed history goes; `sales_window` names a week that is missing.
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=1 - settings().history_weeks, allow_nonexistent_upstream_partitions=True
            ),
        ),
        dg.AssetDep("store_dept_sales", partition_mapping=_ALL_EARLIER),
        "sell_prices",
        "calendar",
    ],
    group_name="features",
    kinds={"sagemaker", "parquet", "numba"},
    pool=HEAVY,
    description="What is known at the week's origin: the dense panel of sales, prices and events, and the features of "
    "each of the 28 days ahead for every product in every store. A Processing job, a file a store.",
)
def features(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Compute the week's features."""
    week = Week.parse(context.partition_key)
    window, totals = sales_window(lake, week), totals_window(lake, week)
    prices, calendar = lake.get("sell_prices"), lake.get("calendar")
    outcome = jobs.process(
        context,
        "features",
        arguments=["--origin", week.origin.isoformat()],
        inputs={
            "sales": JobInput(_list_files(lake, week, "raw_sales", window), manifest=True),
            "totals": JobInput(_list_files(lake, week, "store_dept_sales", totals), manifest=True),
            "prices": JobInput(_folder_of(prices)),
            "calendar": JobInput(_folder_of(calendar)),
        },
        outputs=["panel", "horizon", "totals"],
        prefix=f"{lake.folder('features', week.key)}/{JOB_NAME}",
    )
    made = lake.collect(
        "features",
        week.key,
        outcome.prefix,
        inputs={
            "raw_sales": digest_of(window),
            "store_dept_sales": digest_of(totals),
            "sell_prices": prices.digest,
            "calendar": calendar.digest,
        },
        attributes={"origin": week.origin.isoformat(), "weeks": len(window), "prefix": outcome.prefix},
    )
    manifest = lake.commit(made)
    return dg.MaterializeResult(
        metadata={
            **outcome.metadata,
            "origin": week.origin.isoformat(),
            "weeks_of_history": len(window),
            "weeks_of_totals": len(totals),
            "bytes": manifest.bytes,
            "files": len(manifest.files),
        }
    )


class CurrentSales:
    """Tells whether a week's features were computed from the sales that the lake holds now."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._weeks = {dataset: lake.partitions(dataset) for dataset in ("raw_sales", "store_dept_sales")}
        self._manifests: dict[tuple[str, str], Manifest] = {}

    def changed_inputs(self, week: Week) -> list[str]:
        """Return the names of the inputs that have changed since; none where the features were never made."""
        features = self._lake.find("features", week.key)
        if features is None:
            return []
        upto = {dataset: [key for key in keys if key <= week.key] for dataset, keys in self._weeks.items()}
        windows = {
            "raw_sales": upto["raw_sales"][-int(features.attributes["weeks"]) :],
            "store_dept_sales": upto["store_dept_sales"],
        }
        return [name for name, keys in windows.items() if self._digest(name, keys) != features.inputs[name]]

    def _digest(self, dataset: str, keys: Sequence[str]) -> str:
        for key in keys:
            if (dataset, key) not in self._manifests:
                self._manifests[dataset, key] = self._lake.get(dataset, key)
        return digest_of([self._manifests[dataset, key] for key in keys])


def _folder_of(manifest: Manifest) -> str:
    return manifest.files[0].key.rsplit("/", 1)[0]


def digest_of(window: Sequence[Manifest]) -> str:
    """Name the content of consecutive weeks, as a manifest's inputs hold it."""
    return hashlib.sha256("".join(m.digest for m in window).encode()).hexdigest()


def _list_files(lake: Lake, week: Week, dataset: str, window: list[Manifest]) -> str:
    """Write the S3 manifest that lists the window's files; its name is its content's, so a request repeats itself."""
    base = f"{dataset}/"
    keys = [f.key.removeprefix(base) for m in window for f in m.files]
    content = json.dumps([{"prefix": lake.uri(base)}, *keys], indent=0).encode()
    key = f"{lake.folder('features', week.key)}/inputs/{hashlib.sha256(content).hexdigest()[:12]}.manifest"
    lake.write_bytes(key, content)
    return key
