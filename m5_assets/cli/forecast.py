"""`m5 forecast`: one week with everything it needs."""

from __future__ import annotations

import click

from m5_assets.automation.jobs import weekly_forecast
from m5_assets.cli.back_history import check_landed, load_landed
from m5_assets.cli.parameters import WEEK
from m5_assets.cli.runs import execute, one_week
from m5_assets.weeks import Week


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week, e.g. 2016-05-16.")
def forecast(week: Week) -> None:
    """Forecast one week, from the landed files to PostgreSQL.

    First loads the sales history that the lake lacks or that the landed files correct.
    """
    forecast_week(week)


def forecast_week(week: Week) -> None:
    """Load what is missing or corrected of the week's history, then run the weekly job.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files are invalid, or do not contain the week or enough history; nothing was run.
    """
    check_landed([week])
    load_landed([week], own=[week])
    execute(weekly_forecast, one_week(week))
