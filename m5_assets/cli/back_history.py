"""Loads what weeks need before they are forecast or scored: missing and corrected sales, totals, prices, calendar."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Sequence

import dagster as dg

from m5_assets.automation.due_weeks import earliest_week, mark_stale
from m5_assets.automation.jobs import back_history
from m5_assets.automation.landed_loads import landed_contents, loads, unfinished_loads
from m5_assets.cli.instance import dagster_home
from m5_assets.cli.runs import execute
from m5_assets.errors import UserError
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.postgres import PostgresResource, migrate, schema
from m5_assets.resources.postgres.load import loaded_weeks
from m5_assets.settings import settings
from m5_assets.weeks import Week, frozen_week, newest_due_week

log = logging.getLogger("m5")

_LOADED = {"raw_sales": schema.sales, "store_dept_sales": schema.store_dept_sales}


def landed() -> Landing:
    """Return the reader of the landed files."""
    return LandingFolder(root=settings().landing).open()


def check_landed(weeks: Sequence[Week]) -> None:
    """Check that the weeks can be forecast, before anything runs.

    Raises:
        UserError: a landed file is invalid, the sales do not reach the origin of a week, or too few weeks of sales
            precede it.
    """
    source = settings()
    found = LandingFolder.of(source).verified()
    for note in found.notes:
        log.warning("%s", note)
    for text in found.ids.texts():
        log.warning("sales and prices: %s", text)
    first_day, last_day = found.first_day, found.last_day
    now = dt.datetime.now(dt.UTC)
    newest, frozen = newest_due_week(last_day, now, source), frozen_week(last_day, now, source)
    for week in weeks:
        if not first_day <= week.origin <= last_day:
            raise UserError(
                f"week {week} is not in the landed sales file, which covers {first_day} to {last_day}: "
                f"add a file that reaches {week.origin} to {source.landing}"
            )
        if week > newest:
            kind = "of these frozen data (M5_LAST_WEEK)" if frozen else "that is over"
            raise UserError(f"week {week} cannot be forecast: the last one {kind} is {newest}")
        if week < (first := earliest_week(first_day, source)):
            raise UserError(
                f"week {week} has fewer than M5_MIN_HISTORY_WEEKS={source.min_history_weeks} weeks of sales behind it: "
                f"the landed sales begin on {first_day}; land a longer history, or forecast week {first} or a later one"
            )


def load_landed(weeks: Sequence[Week], *, own: Collection[Week] = (), tables: Collection[str] = ()) -> None:
    """Load what the landed files correct, and what the lake or PostgreSQL lacks of the weeks and their history.

    Forecasts that were based on corrected data are recorded as stale, so that the alerts report them.

    Args:
        weeks: the weeks to forecast or score, oldest first.
        own: the weeks among them whose own runs load them.
        tables: the unpartitioned tables to load in any case.

    Raises:
        BadInput: a landed file is invalid.
        RunFailed: a step failed.
    """
    lake, contents = Lake(root=settings().lake), landed_contents(landed())
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        found = loads(lake, contents, weeks, own=own, tables=tables, lacking=_lacking(lake, instance))
        for load in found:
            execute(back_history, load.tags, dg.AssetSelection.assets(*load.assets))
        if found:
            mark_stale(instance, lake)


def _lacking(lake: Lake, instance: dg.DagsterInstance) -> dict[str, set[str]]:
    """Return the weeks that are in the lake but not, or not as they are now, in PostgreSQL, by dataset."""
    postgres = PostgresResource.of(settings())
    migrate.ensure_newest(postgres)
    engine, unfinished = postgres.engine(), unfinished_loads(instance)
    return {
        dataset: unfinished[dataset] | ({*lake.partitions(dataset)} - {str(day) for day in loaded_weeks(engine, table)})
        for dataset, table in _LOADED.items()
    }
