"""`m5 report`: a week's report as a file to mail."""

from __future__ import annotations

from pathlib import Path

import click

from m5_assets.cli.parameters import OUTPUT_FILE, WEEK
from m5_assets.report import write_report
from m5_assets.resources.postgres import PostgresResource
from m5_assets.settings import settings
from m5_assets.weeks import Week


@click.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week, e.g. 2016-05-16.")
@click.option("--output", type=OUTPUT_FILE, help="Default: forecast-WEEK.html.")
def report(week: Week, output: Path | None) -> None:
    """Write a week's report as one self-contained HTML file."""
    source = settings()
    database = PostgresResource.of(source)
    target = output or Path(f"forecast-{week}.html")
    click.echo(f"report of week {week}, {write_report(database.engine, week, target):,} bytes -> {target}")
