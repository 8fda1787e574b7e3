"""`m5 forecast`: one week with everything it needs."""

from __future__ import annotations

from collections.abc import Iterator

import click
import numpy as np

from m5_assets.automation.jobs import weekly_forecast
from m5_assets.cli.back_history import check_landed, load_landed
from m5_assets.cli.parameters import WEEK
from m5_assets.cli.run_display import Ran, duration
from m5_assets.cli.runs import execute, one_week
from m5_assets.model_specs import ENSEMBLE, MODELS
from m5_assets.readers.forecasts import forecast_parts
from m5_assets.readers.sales import units_a_day
from m5_assets.resources.lake import Lake
from m5_assets.settings import settings
from m5_assets.weeks import HORIZON_DAYS, Week, weeks_between


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week, e.g. 2016-05-16.")
def forecast(week: Week) -> None:
    """Forecast one week, from the landed files to PostgreSQL.

    First loads the sales history that the lake lacks or that the landed files correct.
    """
    ran = forecast_week(week)
    for line in made(Lake(root=settings().lake), week, ran):
        click.echo(line)


def forecast_week(week: Week, *, note: str = "") -> Ran:
    """Load what is missing or corrected of the week's history, then run the weekly job; `note` is said with its name.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files are invalid, or do not contain the week or enough history; nothing was run.
    """
    check_landed([week])
    load_landed([week], own=[week])
    return execute(weekly_forecast, one_week(week), note=note)


def made(lake: Lake, week: Week, ran: Ran) -> Iterator[str]:
    """Yield what the week's run has made, for the end of the command."""
    manifest = lake.get("ensemble_forecast", week.key)
    units = sum(float(np.sum(part[ENSEMBLE].to_numpy(), dtype=float)) for part in forecast_parts(lake, week))
    loaded = set(lake.partitions("raw_sales"))
    past = [each for each in weeks_between(week.shift(1 - HORIZON_DAYS // 7), week) if each.key in loaded]
    sold = float(units_a_day(lake, past).sum()) if len(past) == HORIZON_DAYS // 7 else 0.0
    change = f"; the 28 days before sold {sold:,.0f} ({units / sold - 1:+.1%})" if sold else ""
    series = manifest.attributes["rows"] // HORIZON_DAYS
    yield f"Week {week} is forecast: {series:,} series, {week.shift(1).first_day} to {week.last_forecast_day}"
    yield f"  units     {units:,.0f} in {HORIZON_DAYS} days{change}"
    trained = [(spec.name, lake.get(spec.model, week.key).attributes["trained_week"]) for spec in MODELS]
    models = (f"{name} {'trained now' if since == week.key else f'of {since}'}" for name, since in trained)
    yield f"  models    {', '.join(models)}"
    yield f"  checks    {ran.checks - ran.warnings} passed, {ran.warnings} warnings{' (above)' if ran.warnings else ''}"
    yield f"  time      {duration(ran.seconds)}, {ran.rows:,} rows written; log: {ran.log_file}"
    yield "  look      m5 dashboard: the planners' pages; m5 ui: lineage and runs"
