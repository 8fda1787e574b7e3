"""The second stage: features of each origin, by SageMaker Processing jobs of up to ten weeks.

A job is given the weekly sales files up to its last week by name, so nothing later can leak in; to each of its earlier
weeks it gives only what was known then. Not here: how a feature is computed (`m5_assets.forecasting.features`) and the
program of the job (`m5_assets.containers.features`).
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

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


WEEKS_A_JOB = 10
"""Each week is an output of its own, and a Processing job has ten at most."""


@dataclass(frozen=True)
class Known:
    """What a week's features are computed from.

    Attributes:
        week: the week.
        sales: the manifests of the weeks of sales that it sees, oldest first.
        totals: the same of the store-departments' totals.
        prices: the manifest of the prices.
        calendar: the manifest of the calendar.
    """

    week: Week
    sales: Sequence[Manifest]
    totals: Sequence[Manifest]
    prices: Manifest
    calendar: Manifest

    @classmethod
    def at(cls, lake: Lake, week: Week) -> Self:
        """Return what is known at the week's origin.

        Raises:
            MissingInput: something has not been loaded.
            dg.Failure: the landed history is too short.
        """
        sales, totals = sales_window(lake, week), totals_window(lake, week)
        return cls(week, sales, totals, lake.get("sell_prices"), lake.get("calendar"))

    @property
    def inputs(self) -> dict[str, str]:
        """The digest of each input."""
        return {
            "raw_sales": digest_of(self.sales),
            "store_dept_sales": digest_of(self.totals),
            "sell_prices": self.prices.digest,
            "calendar": self.calendar.digest,
        }

    @property
    def arguments(self) -> list[str]:
        """The job's arguments for this week: origin, first day of the sales, first day of the totals."""
        return ["--origin", self.week.origin.isoformat(), str(self.sales[0].partition), str(self.totals[0].partition)]


def are_made(lake: Lake, known: Known, image: str) -> bool:
    """Tell whether the lake holds the features that a job of this image would compute from this."""
    made = lake.find("features", known.week.key)
    if made is None or made.inputs != known.inputs or made.attributes.get("image") != image:
        return False
    return {file.key for file in made.files} <= set(lake.list(made.attributes["prefix"]))


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
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="features",
    kinds={"sagemaker", "parquet", "numba"},
    pool=HEAVY,
    description="What is known at the week's origin: the dense panel of sales, prices and events, and the features of "
    "each of the 28 days ahead for every product in every store. A file a store; Processing jobs of up to ten weeks.",
)
def features(
    context: dg.AssetExecutionContext, lake: Lake, jobs: dg.ResourceParam[SageMakerJobs]
) -> dg.MaterializeResult[Any]:
    """Compute the weeks' features, where they are not made."""
    image = jobs.image("features")
    known = [Known.at(lake, Week.parse(key)) for key in context.partition_keys]
    todo = [each for each in known if not are_made(lake, each, image)]
    shown: Mapping[str, Any] = {}
    for first in range(0, len(todo), WEEKS_A_JOB):
        shown = _compute(context, lake, jobs, todo[first : first + WEEKS_A_JOB])
        context.log.info(f"features of {min(first + WEEKS_A_JOB, len(todo))} of {len(todo)} weeks are made")
    if len(todo) < len(known):
        context.log.info(f"{len(known) - len(todo)} of {len(known)} weeks were made from the same inputs before")
    manifests = [lake.get("features", each.week.key) for each in known]
    newest = known[-1]
    return dg.MaterializeResult(
        metadata={
            **shown,
            "weeks_computed": len(todo),
            "origin": newest.week.origin.isoformat(),
            "weeks_of_history": len(newest.sales),
            "weeks_of_totals": len(newest.totals),
            "bytes": sum(manifest.bytes for manifest in manifests),
            "files": sum(len(manifest.files) for manifest in manifests),
        }
    )


def _compute(
    context: dg.AssetExecutionContext, lake: Lake, jobs: SageMakerJobs, weeks: Sequence[Known]
) -> Mapping[str, Any]:
    """Run the job of these weeks, switch each to what it wrote, and return what is to be shown of it."""
    last = weeks[-1].week
    outcome = jobs.process(
        context,
        "features",
        arguments=[argument for each in weeks for argument in each.arguments],
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
            "image": jobs.image("features"),
        }
        lake.commit(lake.collect("features", each.week.key, prefix, inputs=each.inputs, attributes=attributes))
    return outcome.metadata


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


def _list_files(lake: Lake, week: Week, dataset: str, windows: Sequence[Sequence[Manifest]]) -> str:
    """Write the S3 manifest that lists the files of all windows; its name is its content's, so a request repeats."""
    base = f"{dataset}/"
    files = {f.key: None for window in windows for m in window for f in m.files}
    content = json.dumps([{"prefix": lake.uri(base)}, *(key.removeprefix(base) for key in files)], indent=0).encode()
    key = f"{lake.folder('features', week.key)}/inputs/{hashlib.sha256(content).hexdigest()[:12]}.manifest"
    lake.write_bytes(key, content)
    return key
