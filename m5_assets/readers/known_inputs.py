"""What is known at a week's origin: the inputs of its features in the lake, and whether they changed since.

An input's digest covers only what the week may see: sales through its own week, prices and calendar through the end of
its horizon. So a longer file changes no week, and a corrected file changes exactly the weeks that see the correction.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
import pandas as pd

from m5_assets.forecasting.closed_days import YearlyDate
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest, MissingInput
from m5_assets.weeks import Week, week_containing, weeks_between

PRICES, CALENDAR = "known_prices", "known_calendar"
"""Names of the inputs that are a part of `sell_prices` and `calendar`: through the end of the week's horizon."""
CLOSED_DAYS, OPEN_DAYS = "M5_CLOSED_DAYS", "M5_OPEN_DAYS"
"""Names of the settings that are inputs, where they are not empty: they are facts about the stores."""
STORES_REMEDY = "correct or remove the entry, or land the store's sales first"


@dataclass(frozen=True)
class Known:
    """The inputs of a week's features.

    Attributes:
        week: the week.
        sales: manifests of the weeks of sales that it sees, oldest first.
        totals: the same for the store-departments' totals.
        prices: the manifest of the prices.
        calendar: the manifest of the calendar.
        inputs: the digest of each input; a setting as it is.
    """

    week: Week
    sales: Sequence[Manifest]
    totals: Sequence[Manifest]
    prices: Manifest
    calendar: Manifest
    inputs: Mapping[str, str]


class KnownInputs:
    """Finds the known inputs of weeks in the lake; reads each manifest once."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._weeks = {dataset: lake.partitions(dataset) for dataset in ("raw_sales", "store_dept_sales")}
        self._manifests: dict[tuple[str, str | None], Manifest] = {}
        self._known_stores: dict[str, frozenset[str]] = {}
        self._days: pd.DataFrame | None = None

    def at(self, week: Week, policy: ForecastPolicy) -> Known:
        """Return the inputs known to the week.

        Raises:
            MissingInput: something that landed has not been loaded.
            dg.Failure: the landed history is shorter than `M5_MIN_HISTORY_WEEKS`, or a setting names an unknown store.
        """
        sales, totals = self.sales(week, policy), self._totals(week)
        if len(sales) < policy.min_history_weeks:
            raise dg.Failure(
                f"week {week} has {len(sales)} weeks of sales behind it, fewer than M5_MIN_HISTORY_WEEKS="
                f"{policy.min_history_weeks}; land a longer history or forecast a later week",
                allow_retries=False,
            )
        for fault in self.unknown_stores(week, policy):
            raise dg.Failure(f"{fault}; {STORES_REMEDY}", allow_retries=False)
        inputs = {
            "raw_sales": digest_of(sales),
            "store_dept_sales": digest_of(totals),
            PRICES: self.prices(week),
            CALENDAR: self.calendar(week),
        }
        given = {CLOSED_DAYS: policy.closed_days, OPEN_DAYS: policy.open_days}
        inputs |= {name: text for name, text in given.items() if text}
        return Known(week, sales, totals, self._get("sell_prices"), self._get("calendar"), inputs)

    def changed(self, week: Week) -> list[str]:
        """Return the inputs that changed since the week's features were computed; empty if they never were."""
        features = self._lake.find("features", week.key)
        if features is None:
            return []
        upto = {dataset: [key for key in keys if key <= week.key] for dataset, keys in self._weeks.items()}
        now = {
            "raw_sales": lambda: self._digest("raw_sales", upto["raw_sales"][-int(features.attributes["weeks"]) :]),
            "store_dept_sales": lambda: self._digest("store_dept_sales", upto["store_dept_sales"]),
            PRICES: lambda: self.prices(week),
            CALENDAR: lambda: self.calendar(week),
        }
        return [name for name, digest in features.inputs.items() if name in now and now[name]() != digest]

    def unknown_stores(self, week: Week, policy: ForecastPolicy) -> Iterator[str]:
        """Yield a fault for each entry of the settings on closed days whose store has no sales.

        A store is known if it is in the week or in the newest one: it may open after the week.
        """
        keys = dict.fromkeys((max(self._weeks["raw_sales"]), week.key))
        for name, text in ((CLOSED_DAYS, policy.closed_days), (OPEN_DAYS, policy.open_days)):
            for date in YearlyDate.parse(text):
                if date.store and not any(date.store in self._stores(key) for key in keys):
                    near = difflib.get_close_matches(date.store, sorted(self._stores(week.key)), n=1, cutoff=0)
                    yield f"{name} has {date}, but no store {date.store} is in the sales; the nearest is {near[0]}"

    def _stores(self, key: str) -> frozenset[str]:
        """Return the stores in a week's sales."""
        if key not in self._known_stores:
            files = self._get("raw_sales", key).files
            tables = (table for file in files for table in self._lake.read_groups(file, ["store_id"]))
            self._known_stores[key] = frozenset(s for table in tables for s in table["store_id"].unique().to_pylist())
        return self._known_stores[key]

    def _get(self, dataset: str, key: str | None = None) -> Manifest:
        if (dataset, key) not in self._manifests:
            self._manifests[dataset, key] = self._lake.get(dataset, key)
        return self._manifests[dataset, key]

    def _digest(self, dataset: str, keys: Sequence[str]) -> str:
        return digest_of([self._get(dataset, key) for key in keys])

    def sales(self, week: Week, policy: ForecastPolicy) -> list[Manifest]:
        """Return the manifests of the weeks of sales that the week sees, oldest first.

        Raises:
            MissingInput: one of them has not been loaded.
        """
        landed = self._landed_since("raw_sales", week)
        return self._present("raw_sales", weeks_between(max(landed, week.shift(1 - policy.history_weeks)), week))

    def _totals(self, week: Week) -> list[Manifest]:
        return self._present("store_dept_sales", weeks_between(self._landed_since("store_dept_sales", week), week))

    def _landed_since(self, dataset: str, week: Week) -> Week:
        if week.key not in self._weeks[dataset]:
            raise MissingInput(dataset, week.key, _remedy(dataset, week))
        return week_containing(dt.date.fromisoformat(self._get(dataset, week.key).attributes["landed_first_day"]))

    def _present(self, dataset: str, window: Sequence[Week]) -> list[Manifest]:
        present = set(self._weeks[dataset])
        missing = [w.key for w in window if w.key not in present]
        if missing:
            raise MissingInput(
                dataset, missing[0], f"and {len(missing) - 1} more weeks; {_remedy(dataset, window[-1])}"
            )
        return [self._get(dataset, w.key) for w in window]

    def prices(self, week: Week) -> str:
        """Return a digest of the prices through the end of the week's horizon."""
        contents = self._get("sell_prices").attributes.get("contents")
        if contents is None:  # loaded by an earlier version
            raise MissingInput("sell_prices", None, "materialize sell_prices again")
        known = (digest for day, digest in sorted(contents.items()) if day <= week.last_forecast_day.isoformat())
        return hashlib.sha256("".join(known).encode()).hexdigest()

    def calendar(self, week: Week) -> str:
        """Return a digest of the calendar through the end of the week's horizon."""
        if self._days is None:
            self._days = self._lake.read_table(self._get("calendar").files[0]).to_pandas()
        return calendar_content(self._days, week.last_forecast_day)


def _remedy(dataset: str, week: Week) -> str:
    return f"run `m5 forecast --week {week}`, or materialize {dataset} for all weeks up to {week}"


def digest_of(window: Sequence[Manifest]) -> str:
    """Return a digest of the content of consecutive weeks."""
    return hashlib.sha256("".join(m.digest for m in window).encode()).hexdigest()


def calendar_content(calendar: pd.DataFrame, last_day: dt.date) -> str:
    """Return a digest of a calendar through this day."""
    days = calendar[calendar["date"] <= pd.Timestamp(last_day)]
    return hashlib.sha256(days.to_csv(index=False, date_format="%Y-%m-%d").encode()).hexdigest()
