"""Checks of the loaded sales, totals, prices and calendar before anything is computed from them.

Not here: which files are rejected before they are loaded (`m5_assets.resources.landing_files`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from functools import partial

import pandas as pd
import pyarrow as pa

from m5_assets.checks import unit_rules
from m5_assets.checks.calendar_rules import days_without_gap, events_named, reaches_the_horizon
from m5_assets.checks.departures import KEYS, departures, forecast_to_sell
from m5_assets.checks.earlier_weeks import WeekOfUnits, drifts, live_rows_complete, rows_complete, units_in_range
from m5_assets.checks.price_rules import ids_match, live_series_priced, prices_in_range
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, unreadable, weekly_checks, whole_checks
from m5_assets.forecasting.panel import SERIES_COLUMNS
from m5_assets.readers.landed_contents import differing_weeks, sales_contents
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.limits import CheckLimits
from m5_assets.settings import Settings, settings
from m5_assets.weeks import Week, newest_due_week, week_containing

EARLIER_WEEKS = 8
"""A week is compared with the median of this many weeks before it."""
LANDED = Check(
    "latest_week_landed",
    "The landed files are valid and reach the last week that is over.",
    limits=("landing_hours",),
)
_VOLUME_DRIFT = Check(
    "volume_drift",
    "The week's units are near the median of the eight weeks before, closed ones left out.",
    limits=("volume_band",),
)
EARLIER = Check(
    "history_as_landed",
    "The weeks before it that its forecast sees are those of the landed file.",
    blocking=True,
    remedy="`m5 forecast` for this week loads them, and so does the sensor landed_files",
)
_LIVE_WEEKS = 4
_LOAD_AGAIN = "load it again from the landed files: materialize this asset's week"

SALES_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in SERIES_COLUMNS), ("date", pa.date32()), ("units", pa.int32())]
)
TOTALS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("store_id", "dept_id", "cat_id", "state_id")),
        ("date", pa.date32()),
        ("units", pa.int64()),
    ]
)
PRICES_SCHEMA = pa.schema(
    [("store_id", pa.string()), ("item_id", pa.string()), ("wm_yr_wk", pa.int32()), ("sell_price", pa.float32())]
)

SALES_CHECKS = (
    Check("schema", "The sales have the expected columns and types, and no empty cells.", True, remedy=_LOAD_AGAIN),
    Check(
        "complete",
        "Every live series (sold in the four weeks before, or forecast to sell) has a row for every day.",
        blocking=True,
        limits=("missing_series", "left_series"),
    ),
    Check(
        "departures",
        "Stores, departments and items with live series are still in the file; what has left is not forecast.",
        remedy="if they still sell, land a whole file",
    ),
    Check(
        "units_in_range",
        "No units are negative, or too many times the largest of one series and day in a usual week with sales.",
        blocking=True,
        limits=("units_factor", "units_floor"),
    ),
    _VOLUME_DRIFT,
    Check(
        "zero_share_drift",
        "The share of days without a sale is near the median of the eight weeks before, closed ones left out.",
        limits=("zero_share_band",),
    ),
    EARLIER,
    LANDED,
)
TOTALS_CHECKS = (
    Check("schema", "The totals have the expected columns and types, and no empty cells.", True, remedy=_LOAD_AGAIN),
    Check(
        "complete",
        "The store-departments of the previous week, but for a share that may leave, have a row for every day.",
        blocking=True,
        limits=("left_series",),
    ),
    Check(
        "agrees_with_detail",
        "Each store-department's units are the sum of its products' units.",
        blocking=True,
        remedy=_LOAD_AGAIN,
    ),
    _VOLUME_DRIFT,
)
PRICES_CHECKS = (
    Check("schema", "The prices have the expected columns and types, and no empty cells.", True, remedy=_LOAD_AGAIN),
    Check(
        "prices_in_range",
        "No price is too many times above or below the median price, in whatever currency.",
        blocking=True,
        limits=("price_factor",),
    ),
    Check(
        "ids_match",
        "Every series sold in the last four weeks of the landed file has a price in some week.",
        blocking=True,
        limits=("unpriced_series",),
    ),
    Check(
        "live_series_priced",
        "Products sold in the newest week have a price in each of the next four weeks.",
        limits=("missing_series",),
    ),
)
CALENDAR_CHECKS = (
    Check(
        "days_without_gap",
        "Days and day numbers are consecutive.",
        blocking=True,
        remedy="correct calendar.csv and land it again",
    ),
    Check(
        "reaches_the_horizon",
        "The calendar covers the 28 days after the newest week of sales.",
        blocking=True,
        remedy="add the missing days to calendar.csv and land it again",
    ),
    Check("events_named", "Every event has both a name and a type."),
)


def landed_is_fresh(last_day: dt.date, now: dt.datetime, source: Settings) -> Finding:
    """Check that the landed sales reach the last week that ended at least `M5_CHECKS_LANDING_HOURS` ago."""
    due = newest_due_week(last_day, now - dt.timedelta(hours=source.checks.landing_hours), source)
    figures = {"landed_through": last_day.isoformat(), "due_through": due.origin.isoformat()}
    if last_day >= due.origin:
        return Finding(True, f"sales are landed through {last_day}", figures)
    weeks = -(-(due.origin - last_day).days // 7)
    return Finding(
        False,
        f"sales are landed through {last_day}, but week {due} is over ({source.checks.limit('landing_hours')}): "
        f"{weeks} weeks are missing; "
        f"land a file that reaches {due.origin} in {source.landing}",
        figures,
    )


def history_as_landed(week: Week, differing: Collection[str], history_weeks: int) -> Finding:
    """Check that no earlier week in the history window differs from the landed file.

    Args:
        week: the week.
        differing: the weeks that the lake holds with other sales than the landed file.
        history_weeks: the length of the window.
    """
    odd = sorted(key for key in differing if week.shift(1 - history_weeks).key <= key < week.key)
    if not odd:
        return Finding(True, "the earlier weeks are those of the landed file")
    return Finding(
        False,
        f"{len(odd)} earlier weeks differ from the landed file, {odd[0]} to {odd[-1]}",
        {"weeks_differ": len(odd)},
    )


class _Weeks:
    """The weeks of one dataset; reads each file once."""

    def __init__(self, lake: Lake, dataset: str, keys: Sequence[str]) -> None:
        self._lake, self._dataset, self._keys = lake, dataset, keys
        self._known: dict[str, WeekOfUnits] = {}
        self.present = set(lake.partitions(dataset))

    def table(self, week: Week) -> tuple[Manifest, pa.Table]:
        manifest = self._lake.get(self._dataset, week.key)
        return manifest, self._lake.read_table(manifest.files[0])

    def earlier(self, week: Week) -> list[WeekOfUnits]:
        """Return the summaries of the preceding weeks that are in the lake, latest first."""
        before = [w for w in (week.shift(-i) for i in range(1, EARLIER_WEEKS + 1)) if w.key in self.present]
        return [self.summary(w) for w in before]

    def before(self, summary: WeekOfUnits) -> list[WeekOfUnits]:
        """Return `earlier` of a week that was summarized."""
        return self.earlier(week_containing(summary.days[0]))

    def summary(self, week: Week, table: pa.Table | None = None) -> WeekOfUnits:
        if week.key not in self._known:
            self._known[week.key] = WeekOfUnits.of(self.table(week)[1] if table is None else table, self._keys)
        return self._known[week.key]


def sales_examiner(lake: Lake, landing: LandingFolder, limits: CheckLimits, *, source: Settings) -> Examiner:
    """Return the examiner of `raw_sales`."""
    weeks = _Weeks(lake, "raw_sales", KEYS)
    newest = max(weeks.present, default="")
    differing = _differing(lake, landing)

    def examine(week: Week) -> Findings:
        manifest, table = weeks.table(week)
        schema = unit_rules.schema(table, SALES_SCHEMA)
        if not schema.passed:
            return unreadable(SALES_CHECKS, schema.text)
        own, earlier = weeks.summary(week, table), weeks.earlier(week)
        lowest = float(table["units"].to_numpy().min(initial=0))
        live = own.keys[:0]
        for before in earlier[:_LIVE_WEEKS]:
            live = live.union(before.sold)
        if lake.find("ensemble_forecast", week.key) is None:
            # If earlier weeks were loaded again from a file without them, only the forecast knows what has left.
            live = live.union(forecast_to_sell(lake, week.shift(-1)))
        gone = departures(live, own.keys)
        first = max(week.first_day, dt.date.fromisoformat(manifest.attributes["landed_first_day"]))
        findings = {
            "schema": schema,
            "complete": live_rows_complete(table, own, live, gone, first, week.origin, limits),
            "departures": gone.finding(),
            "units_in_range": units_in_range(own, lowest, earlier, limits, weeks.before),
            EARLIER.name: history_as_landed(week, differing, source.history_weeks),
            **drifts(own, earlier, limits),
        }
        if week.key == newest:
            findings[LANDED.name] = landed_is_fresh(landing.open().days()[1], _now(), source)
        return findings

    return examine


def _differing(lake: Lake, landing: LandingFolder) -> set[str]:
    """Return the weeks of sales that the lake holds otherwise than the landed file."""
    reader = landing.open()
    return differing_weeks(lake, "raw_sales", sales_contents(reader.sales(), reader.calendar().set_index("d")["date"]))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def agrees(totals: pa.Table, detail: pa.Table) -> Finding:
    """Check that each store-department's units are the sum of its products', on the days with item sales."""
    keys = ["store_id", "dept_id", "date"]
    summed = detail.group_by(keys).aggregate([("units", "sum")]).to_pandas().astype({"store_id": str, "dept_id": str})
    both = summed.merge(totals.to_pandas(), on=keys, how="left")
    wrong = both[both["units"] != both["units_sum"]]
    if wrong.empty:
        return Finding(True, f"{len(both):,} totals agree with the item sales", {"totals": len(both)})
    row = wrong.iloc[0]
    text = f"{len(wrong)} totals differ, such as {row['store_id']}, {row['dept_id']}, {row['date']}: "
    return Finding(False, f"{text}{row['units']} against {row['units_sum']} summed", {"totals_differ": len(wrong)})


def totals_examiner(lake: Lake, limits: CheckLimits) -> Examiner:
    """Return the examiner of `store_dept_sales`."""
    weeks = _Weeks(lake, "store_dept_sales", ("store_id", "dept_id"))

    def examine(week: Week) -> Findings:
        manifest, table = weeks.table(week)
        schema = unit_rules.schema(table, TOTALS_SCHEMA)
        if not schema.passed:
            return unreadable(TOTALS_CHECKS, schema.text)
        own, earlier = weeks.summary(week, table), weeks.earlier(week)
        live = earlier[0].keys if earlier else own.keys
        first = max(week.first_day, dt.date.fromisoformat(manifest.attributes["landed_first_day"]))
        findings = {
            "schema": schema,
            "complete": rows_complete(table, own, live, first, week.origin, limits.limit("left_series")),
            "volume_drift": drifts(own, earlier, limits)["volume_drift"],
        }
        detail = lake.find("raw_sales", week.key)
        if detail is not None:
            findings["agrees_with_detail"] = agrees(table, lake.read_table(detail.files[0]))
        return findings

    return examine


def examine_prices(lake: Lake, limits: CheckLimits, landing: LandingFolder) -> Findings:
    """Examine `sell_prices`."""
    table = lake.read_table(lake.get("sell_prices").files[0])
    schema = unit_rules.schema(table, PRICES_SCHEMA)
    if not schema.passed:
        return unreadable(PRICES_CHECKS, schema.text)
    return {
        "schema": schema,
        "prices_in_range": prices_in_range(table, limits.limit("price_factor")),
        "ids_match": ids_match(landing.verified().ids, limits.limit("unpriced_series")),
        "live_series_priced": live_series_priced(table, *_sold_and_weeks_ahead(lake), limits.limit("missing_series")),
    }


def _sold_and_weeks_ahead(lake: Lake) -> tuple[pd.MultiIndex, list[int]]:
    newest, calendar = max(lake.partitions("raw_sales"), default=None), lake.find("calendar")
    if newest is None or calendar is None:
        return pd.MultiIndex.from_arrays([[], []]), []
    week = Week.parse(newest)
    days = lake.read_table(calendar.files[0]).select(["date", "wm_yr_wk"]).to_pandas()
    ahead = (days["date"].dt.date > week.origin) & (days["date"].dt.date <= week.last_forecast_day)
    sold = WeekOfUnits.of(lake.read_table(lake.get("raw_sales", newest).files[0]), ("store_id", "item_id")).sold
    return sold, sorted({int(number) for number in days.loc[ahead, "wm_yr_wk"]})


def examine_calendar(lake: Lake) -> Findings:
    """Examine `calendar`."""
    frame = lake.read_table(lake.get("calendar").files[0]).to_pandas()
    newest = max(lake.partitions("raw_sales"), default=None)
    return {
        "days_without_gap": days_without_gap(frame),
        "reaches_the_horizon": reaches_the_horizon(frame["date"].max().date(), Week.parse(newest) if newest else None),
        "events_named": events_named(frame),
    }


raw_sales_checks = weekly_checks(
    "raw_sales", SALES_CHECKS, partial(sales_examiner, source=settings()), ("lake", "landing", "limits")
)
store_dept_sales_checks = weekly_checks("store_dept_sales", TOTALS_CHECKS, totals_examiner, ("lake", "limits"))
sell_prices_checks = whole_checks("sell_prices", PRICES_CHECKS, examine_prices, ("lake", "limits", "landing"))
calendar_checks = whole_checks("calendar", CALENDAR_CHECKS, examine_calendar)
