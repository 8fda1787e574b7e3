"""Loads what weeks need before they are forecast or scored: missing and corrected sales, totals, prices, calendar."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

import dagster as dg
from sqlalchemy import Table

from m5_assets.automation import due_weeks
from m5_assets.cli.runs import back_history_job, execute, week_range
from m5_assets.errors import UserError
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.resources.postgres import PostgresResource, migrate, schema
from m5_assets.resources.postgres.load import loaded_weeks
from m5_assets.settings import settings
from m5_assets.weeks import Week, week_containing, weeks_between

log = logging.getLogger("m5")

_TOTALS = dg.AssetSelection.assets("store_dept_sales", "rds/store_dept_sales")
_SALES = dg.AssetSelection.assets("raw_sales", "rds/sales") | _TOTALS
_WHOLE_TABLES = dg.AssetSelection.assets("sell_prices", "calendar", "rds/calendar")


def landed() -> Landing:
    """Return the reader of the landed files."""
    return LandingFolder(root=settings().landing).open()


def check_landed(weeks: Sequence[Week]) -> None:
    """Raise UserError if the landed sales do not reach the origin of a week."""
    first_day, last_day = landed().days()
    for week in weeks:
        if not first_day <= week.origin <= last_day:
            raise UserError(
                f"week {week} is not in the landed sales file, which covers {first_day} to {last_day}: "
                f"add a file that reaches {week.origin} to {settings().landing}"
            )


def load_back_history(first: Week, last: Week) -> None:
    """Load the missing sales from the first week's history window through the last week, and all earlier totals.

    Raises:
        RunFailed: a step failed.
    """
    first_day, _ = landed().days()
    window_start = max(week_containing(first_day), first.shift(1 - settings().history_weeks))
    _load_missing("raw_sales", schema.sales, weeks_between(window_start, last), ["sell_prices", "calendar"])
    totals_start = week_containing(_first_day_of_totals(first_day))
    _load_missing("store_dept_sales", schema.store_dept_sales, weeks_between(totals_start, last))


def load_corrected() -> None:
    """Reload the weeks that the landed files correct, and the prices and the calendar as they are now.

    Raises:
        RunFailed: a step failed.
    """
    lake, contents = Lake(root=settings().lake), due_weeks.landed_contents(landed())
    weeks = due_weeks.weeks_to_load(lake, contents, [])
    for assets, corrected in ((_SALES, weeks), (_TOTALS, due_weeks.totals_to_load(lake, contents, weeks, []))):
        for first, last in due_weeks.spans(corrected):
            log.info("reloading corrected weeks %s to %s", first, last)
            execute(back_history_job, week_range(first, last), assets)
    execute(back_history_job, {}, _WHOLE_TABLES)


def _first_day_of_totals(first_day: dt.date) -> dt.date:
    reader = landed()
    totals = reader.totals()
    return min(first_day, reader.calendar().set_index("d")["date"][totals.first_day].date()) if totals else first_day


def _load_missing(dataset: str, table: Table, weeks: list[Week], with_assets: Sequence[str] = ()) -> None:
    source = settings()
    engine = PostgresResource(url=source.database_url.get_secret_value(), home=str(source.home)).engine()
    migrate.upgrade(engine)
    present = set(Lake(root=source.lake).partitions(dataset))
    loaded = loaded_weeks(engine, table)
    missing = [w for w in weeks if w.key not in present or w.first_day not in loaded]
    if missing:
        log.info("loading %s, weeks %s to %s", dataset, missing[0], missing[-1])
        execute(
            back_history_job,
            week_range(missing[0], missing[-1]),
            dg.AssetSelection.assets(dataset, f"rds/{table.name}", *with_assets),
        )
