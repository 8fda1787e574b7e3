"""`m5 backtest`: forecasts past weeks with what was known then, scores them and reports their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pandas as pd

from m5_assets.automation.due_weeks import FORECAST, is_scored, stale_weeks
from m5_assets.cli.back_history import check_landed, landed, load_landed
from m5_assets.cli.backtest_report import Backtest, report, write
from m5_assets.cli.forecast import forecast_week
from m5_assets.cli.parameters import OUTPUT_FILE, WEEK, list_of
from m5_assets.cli.score import score_weeks
from m5_assets.errors import UserError
from m5_assets.readers.accuracy_tables import read_accuracy
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files import Landing
from m5_assets.settings import settings
from m5_assets.weeks import Week, week_containing


@click.command()
@click.option("--weeks", type=list_of(WEEK, "weeks"), help="First days of the weeks, e.g. 2016-03-21,2016-04-18.")
@click.option("--origins", type=list_of(click.INT, "days"), help="Or day numbers of the origins, e.g. 1885,1913.")
@click.option("--again", is_flag=True, help="Forecast and score all weeks again; finished jobs are reused.")
@click.option("--output", type=OUTPUT_FILE, help="Markdown file; default: the terminal.")
def backtest(weeks: list[Week] | None, origins: list[int] | None, again: bool, output: Path | None) -> None:
    """Forecast and score past weeks and report their accuracy.

    Weeks that are scored already are reused.
    """
    if weeks is not None and origins is None:
        chosen = f"--weeks {','.join(str(week) for week in weeks)}"
    elif origins is not None and weeks is None:
        chosen = f"--origins {','.join(str(day) for day in origins)}"
        weeks = weeks_of_origins(origins, Landing(settings().landing).calendar())
    else:
        raise click.UsageError("give either --weeks or --origins")
    lake, command = Lake(root=settings().lake), f"m5 backtest {chosen}"
    carry_out(lake, weeks, again=again)
    found = collect(lake, weeks)
    if output is None:
        click.echo(report(found, command))
    else:
        write(found, f"{command} --output {output}", output)


def weeks_of_origins(days: Sequence[int], calendar: pd.DataFrame) -> list[Week]:
    """Return the weeks whose last days have these day numbers.

    Args:
        days: day numbers, such as 1913 for d_1913.
        calendar: its columns `d` and `date`.

    Raises:
        UserError: a day is not in the calendar or not the last day of a week.
    """
    dates = calendar.set_index("d")["date"]
    weeks = []
    for day in days:
        if day not in dates.index:
            raise UserError(f"d_{day} is not in calendar.csv, which holds d_{dates.index[0]} to d_{dates.index[-1]}")
        date = dates[day].date()
        week = week_containing(date)
        if week.origin != date:
            nearest = day + (week.origin - date).days
            raise UserError(
                f"d_{day} ({date:%A} {date}) is not the last day of a week; weeks begin on {settings().week_start} "
                f"(M5_WEEK_START): d_{nearest}, or d_{nearest - 7}?"
            )
        weeks.append(week)
    return weeks


def plan(lake: Lake, weeks: Sequence[Week], *, again: bool) -> list[tuple[Week, bool]]:
    """Return the weeks to score, oldest first, each with whether it must be forecast before.

    A week is skipped if its accuracy belongs to what is in the lake, and the inputs of its forecast have not changed
    since; `again` skips none.
    """
    steps, stale = [], stale_weeks(lake)
    for week in sorted(set(weeks)):
        forecasts = again or week in stale or lake.find(FORECAST, week.key) is None
        if forecasts or not is_scored(lake, week):
            steps.append((week, forecasts))
    return steps


def carry_out(lake: Lake, weeks: Sequence[Week], *, again: bool) -> None:
    """Load what the landed files correct, then forecast and score the weeks as `plan` says.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files lack a week or the 28 days after it; nothing was run.
    """
    steps = plan(lake, weeks, again=again)
    if not steps and not landed().stamps():
        return  # everything is scored, and there is no file that could correct it
    _, last_day = landed().days()
    if steps and (last_week := steps[-1][0]).last_forecast_day > last_day:
        raise UserError(
            f"week {last_week} cannot be scored: its forecast ends on {last_week.last_forecast_day}, the landed sales "
            f"on {last_day}; leave it out, or add later sales to {settings().landing}"
        )
    check_landed([week for week, needs_forecast in steps if needs_forecast])
    load_landed(sorted(weeks))
    steps = plan(lake, weeks, again=again)
    for number, (week, needs_forecast) in enumerate(steps, start=1):
        if needs_forecast:
            forecast_week(week, note=f"{number} of {len(steps)} weeks")
        score_weeks([week])


def collect(lake: Lake, weeks: Sequence[Week]) -> Backtest:
    """Read the weeks' accuracy from the lake.

    Raises:
        MissingInput: a week has not been scored.
    """
    origins, tables = [], []
    for week in sorted(set(weeks)):
        table, manifest = read_accuracy(lake, week), lake.get("forecast_accuracy", week.key)
        day = int(manifest.attributes["origin_day"])
        tables.append(table.assign(day=day))
        origins.append(
            {
                "day": day,
                "week": week,
                "series": manifest.attributes["series"],
                "weights_and_scales": manifest.attributes["weights_and_scales"],
                "forecast": manifest.inputs["ensemble_forecast"],
            }
        )
    return Backtest(pd.DataFrame(origins).set_index("day"), pd.concat(tables, ignore_index=True))
