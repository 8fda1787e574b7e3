"""Checks of a week's features: every store and series, finite numbers, and nothing from after the origin."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.checks.unit_rules import days
from m5_assets.forecasting.file_names import key_of
from m5_assets.forecasting.panel import CALENDAR_KEY, HORIZON, SERIES_COLUMNS, calendar_of
from m5_assets.readers.known_inputs import KnownInputs
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import LakeFile, Manifest
from m5_assets.resources.limits import CheckLimits
from m5_assets.settings import Limit
from m5_assets.weeks import Week

CURRENT = Check(
    "based_on_current_sales",
    "The inputs have not changed since; a corrected file makes the weeks that use it stale.",
)
_KEYS = (*SERIES_COLUMNS, "date")
_FILLED = ("weekday", "snap", "price", "lag_28", "same_weekday_mean_4", "rolling_mean_28", "nonzero_share_28")
"""Features that need little history, so most rows must have a value."""
_COMPUTE_AGAIN = "materialize the week's features again"
CHECKS = (
    Check(
        "schema",
        "Every store's horizon file has exactly the features of the catalogue.",
        blocking=True,
        remedy=_COMPUTE_AGAIN,
    ),
    Check(
        "complete",
        "Every store in the week's sales has a panel, and 28 rows per series.",
        blocking=True,
        remedy=_COMPUTE_AGAIN,
    ),
    Check(
        "known_at_the_origin",
        "The job read no later week, and the sales end at the origin.",
        blocking=True,
        remedy="do not publish this week, and report it as a bug",
    ),
    Check(
        "finite",
        "No feature is infinite; prices, lags and means have a value in most rows.",
        blocking=True,
        limits=("missing_features",),
    ),
    CURRENT,
)


def schema(columns: Iterable[str], names: Iterable[str]) -> Finding:
    """Compare a horizon file's columns with the catalogue."""
    found, wanted = set(columns), {*_KEYS, *names}
    problems = [f"no column {name}" for name in sorted(wanted - found)]
    problems += [f"unknown column {name}" for name in sorted(found - wanted)]
    return Finding(not problems, "; ".join(problems[:10]) or f"{len(found)} columns, as in the catalogue")


def complete(expected: Sequence[str], stores: Mapping[str, Sequence[str]], rows: int, series: int) -> Finding:
    """Check that each part has all stores of the week's sales, and the horizon 28 rows per series."""
    problems = [
        f"{part} lacks {', '.join(sorted(lacking))}" for part in stores if (lacking := {*expected} - {*stores[part]})
    ]
    if rows < series * HORIZON:
        problems.append(f"{rows:,} rows for the horizon of {series:,} series, {HORIZON} expected for each")
    figures = {"rows": rows, "series": series, "stores": len(expected)}
    return Finding(not problems, "; ".join(problems) or f"{len(expected)} stores, {rows:,} rows", figures)


def known_at_the_origin(
    week: Week, inputs: Iterable[str], known_through: Sequence[dt.date], horizon_days: Iterable[dt.date]
) -> Finding:
    """Check that nothing after the origin was an input, by the job's inputs and by the files it wrote.

    Args:
        week: the week of the features.
        inputs: the keys of all input files of the job, in folders named `week=<first day>`.
        known_through: the last day with sales in each panel and in the totals.
        horizon_days: the days of the horizon's rows.
    """
    late = sorted({key for key in inputs if _week_of(key) > week.key})
    problems = [f"the job read {len(late)} files of later weeks, such as {late[0]}"] if late else []
    wrong = sorted({day for day in known_through if day != week.origin})
    if wrong:
        problems.append(f"sales are known through {wrong[-1]}, not through the origin {week.origin}")
    odd = days(sorted(set(horizon_days)), week.shift(1).first_day, week.last_forecast_day)
    if odd:
        problems.append(f"the horizon's rows do not cover exactly the next 28 days: {odd[0]} is missing or unexpected")
    return Finding(not problems, "; ".join(problems) or f"nothing after {week.origin} was used")


def _week_of(key: str) -> str:
    return next((part.removeprefix("week=") for part in key.split("/") if part.startswith("week=")), "")


class Finiteness:
    """Counts infinite and missing values, store by store.

    Args:
        tolerated: share of the rows on offer in which a feature of `_FILLED` may have no value.
    """

    def __init__(self, tolerated: Limit) -> None:
        self._tolerated = tolerated
        self._rows = self._offered = 0
        self._infinite: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._unfilled: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Count the rows of one store."""
        offered = ~np.isnan(table["days_since_release"].to_numpy())  # a store that will open has no prices yet
        self._rows += table.num_rows
        self._offered += int(offered.sum())
        for name in table.column_names:
            if name not in _KEYS:
                values = table[name].to_numpy()
                self._infinite[name] += int(np.isinf(values).sum())
                self._missing[name] += int(np.isnan(values).sum())
                self._unfilled[name] += int((np.isnan(values) & offered).sum())

    def finding(self) -> Finding:
        """Return the finding over all stores counted so far."""
        problems = [f"{name} is infinite in {count} rows" for name, count in self._infinite.items() if count]
        missing = {name: self._unfilled[name] / self._offered if self._offered else 1.0 for name in _FILLED}
        scarce = {name: share for name, share in missing.items() if share > self._tolerated.value}
        problems += [f"{name} is missing in {share:.0%} of the rows on offer" for name, share in scarce.items()]
        if scarce:
            problems.append(f"up to {self._tolerated.value:.0%} passes, {self._tolerated.remedy(max(scarce.values()))}")
        share = self._missing.total() / max(self._rows * len(self._missing), 1)
        figures = {"rows": self._rows, "missing_share": share}
        return Finding(not problems, "; ".join(problems[-10:]) or f"{share:.2%} of the values are missing", figures)


def based_on_current_sales(changed: Sequence[str]) -> Finding:
    """Check that no input has changed since the features were computed."""
    return Finding(not changed, f"changed since: {', '.join(changed)}" if changed else "no input has changed since")


def examiner(lake: Lake, limits: CheckLimits) -> Examiner:
    """Return the examiner of `features`."""
    from m5_assets.forecasting.features.registry import NAMES  # slow: imports numba

    current = KnownInputs(lake)

    def examine(week: Week) -> Findings:
        manifest = lake.get("features", week.key)
        sales = lake.read_table(lake.get("raw_sales", week.key).files[0])
        stores = sorted(str(store) for store in pc.unique(sales["store_id"].cast(pa.string())).to_pylist())
        series = sales.group_by(["store_id", "item_id"]).aggregate([]).num_rows
        finiteness, rows, dates = Finiteness(limits.limit("missing_features")), 0, set[dt.date]()
        schemas = []
        for file in manifest.under("horizon"):
            table = lake.read_table(file)
            schemas.append(schema(table.column_names, NAMES))
            rows += table.num_rows
            dates |= set(pc.unique(table["date"]).to_pylist())
            if schemas[-1].passed:
                finiteness.add(table)
        found = {
            part: [key_of(PurePosixPath(f.key).stem) for f in manifest.under(part)] for part in ("panel", "horizon")
        }
        known = [_known_through(lake, f) for part in ("panel", "totals") for f in manifest.under(part)]
        bad = [finding for finding in schemas if not finding.passed]
        return {
            "schema": bad[0] if bad else schemas[0] if schemas else Finding(False, "there is no horizon file"),
            "complete": complete(stores, found, rows, series),
            "known_at_the_origin": known_at_the_origin(week, _inputs(lake, manifest), known, dates),
            "finite": finiteness.finding(),
            CURRENT.name: based_on_current_sales(current.changed(week)),
        }

    return examine


def _known_through(lake: Lake, file: LakeFile) -> dt.date:
    """Return the last day with sales in a panel or in totals; reads only the file's footer."""
    with lake.open(file) as stream:
        schema_found = pq.ParquetFile(stream).schema_arrow
    lists = next(schema_found.field(name).type for name in ("sales", "units") if name in schema_found.names)
    day: dt.date = calendar_of(schema_found.metadata[CALENDAR_KEY])["date"].iloc[lists.list_size - 1].date()
    return day


def _inputs(lake: Lake, manifest: Manifest) -> list[str]:
    """Return the keys of all files on the input lists of the week's jobs."""
    keys: list[str] = []
    for name in lake.list(f"{lake.folder('features', manifest.partition)}/inputs"):
        with lake.filesystem.open_input_stream(lake.path(name)) as stream:
            head, *listed = json.loads(stream.read())
        keys += [head["prefix"] + key for key in listed]
    return keys


features_checks = weekly_checks("features", CHECKS, examiner, ("lake", "limits"))
