"""`m5 housekeeping`: what the weekly job deletes, on demand."""

from __future__ import annotations

import datetime as dt

import click
import dagster as dg

from m5_assets.automation.housekeeping import carry_out, plan, summary
from m5_assets.cli.instance import dagster_home
from m5_assets.resources.lake import Lake
from m5_assets.settings import settings


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be deleted and delete nothing.")
def housekeeping(dry_run: bool) -> None:
    """Delete old data that no current forecast needs.

    M5_RETENTION_* says how much is kept.
    """
    dagster_home()
    lake = Lake(root=settings().lake)
    with dg.DagsterInstance.get() as instance:
        removals = plan(lake, instance, settings().retention, dt.datetime.now(dt.UTC))
        if not dry_run:
            carry_out(removals, lake, instance)
    for line in summary(removals):
        click.echo(line)
