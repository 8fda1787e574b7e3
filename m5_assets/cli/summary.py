"""`m5 summary`: what PostgreSQL holds of a week, and where to look next."""

from __future__ import annotations

import click
import pandas as pd
from sqlalchemy import func, select

from m5_assets.cli.parameters import WEEK
from m5_assets.errors import UserError
from m5_assets.model_specs import ENSEMBLE, MEMBER_NAMES
from m5_assets.resources.postgres import PostgresResource, migrate
from m5_assets.resources.postgres.schema import accuracy, forecast, load_log
from m5_assets.settings import settings
from m5_assets.weeks import Week


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week that was forecast, e.g. 2016-05-16.")
@click.option("--scored", type=WEEK, help="Also show the accuracy of this week.")
def summary(week: Week, scored: Week | None) -> None:
    """Show a week's forecast and accuracy in PostgreSQL.

    Ends with where to look next.
    """
    print_summary(week, scored)


def print_summary(week: Week, scored: Week | None) -> None:
    """Print the week's rows and units in PostgreSQL, the accuracy of the scored week, and where to look next.

    Raises:
        UserError: the week is not in PostgreSQL.
    """
    source = settings()
    postgres = PostgresResource.of(source)
    migrate.ensure_newest(postgres)
    engine = postgres.engine()
    with engine.connect() as connection:
        chosen = forecast.c.week == week.first_day
        sums = [func.coalesce(func.sum(forecast.c[name]), 0) for name in (*MEMBER_NAMES, ENSEMBLE)]
        rows, *units = connection.execute(select(func.count(), *sums).where(chosen)).one()
        if not rows:
            raise UserError(f"week {week} is not in PostgreSQL: run `m5 forecast --week {week}`")
        loads = connection.execute(select(func.count()).select_from(load_log)).scalar_one()
        click.echo(
            f"\nForecast of week {week}: {week.origin} is the last known day, {week.last_forecast_day} the last one"
        )
        click.echo(f"  rows in PostgreSQL     {rows:,} ({rows // 28:,} series x 28 days), {loads} loads logged")
        said = ", ".join(f"{name} {sold:,.0f}" for name, sold in zip((*MEMBER_NAMES, ENSEMBLE), units, strict=True))
        click.echo(f"  units in 28 days       {said}")
        if scored is not None:
            columns = (accuracy.c.model, accuracy.c.level, accuracy.c.wrmsse, accuracy.c.bias)
            frame = pd.read_sql(
                select(*columns).where(accuracy.c.week == scored.first_day, accuracy.c.horizon_week == 0), connection
            )
            _print_accuracy(scored, frame)
    click.echo("\nWhere to look next")
    click.echo("  make ui                lineage, runs and plots on http://127.0.0.1:3000")
    click.echo(f"  m5 export --week {week} --output forecast.csv")
    click.echo(f"  lake                   {source.lake}")
    click.echo(f"  PostgreSQL             schema m5 of {engine.url.render_as_string(hide_password=True)}")


def _print_accuracy(week: Week, frame: pd.DataFrame) -> None:
    if frame.empty:
        click.echo(
            f"\nWeek {week} is not scored: run `m5 score --week {week}` once the sales of its 28 days have landed"
        )
        return
    click.echo(f"\nWRMSSE of week {week}, origin {week.origin} (lower is better), from the platform's own data")
    for model in frame.sort_values("level").groupby("model", sort=False)["model"].first():
        own = frame[frame["model"] == model].set_index("level")
        levels = " ".join(f"{own.loc[level, 'wrmsse']:.2f}" for level in range(1, 13))
        click.echo(f"  {model:<15} {own.loc[0, 'wrmsse']:.4f}   bias {own.loc[0, 'bias']:+.1%}   levels 1-12: {levels}")
