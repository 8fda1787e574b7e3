"""`m5 score`: the accuracy of a week's forecast."""

from __future__ import annotations

import click

from m5_assets.automation.jobs import accuracy
from m5_assets.cli.back_history import landed, load_landed
from m5_assets.cli.parameters import WEEK
from m5_assets.cli.runs import execute, one_week
from m5_assets.weeks import HORIZON_DAYS, Week, weeks_between


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week, e.g. 2016-05-16.")
def score(week: Week) -> None:
    """Score a week's forecast once its 28 days of sales have landed."""
    if not score_weeks([week]):
        raise click.ClickException(
            f"week {week} cannot be scored yet: the sales through {week.last_forecast_day} have not landed"
        )


def score_weeks(weeks: list[Week]) -> list[Week]:
    """Score the weeks whose 28 days have landed, and return them.

    Raises:
        RunFailed: a step failed.
    """
    _, last_day = landed().days()
    matured = [w for w in weeks if w.last_forecast_day <= last_day]
    if matured:
        load_landed(weeks_between(min(matured), max(matured).shift(HORIZON_DAYS // 7)))
    for week in matured:
        execute(accuracy, one_week(week))
    return matured
