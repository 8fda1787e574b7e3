"""`m5 quicksight …`: publishes the dashboard to an AWS account."""

from __future__ import annotations

from pathlib import Path

import click

from m5_assets.extras.quicksight import publishing
from m5_assets.extras.quicksight.definition_files import read_definitions
from m5_assets.extras.quicksight.quicksight_api import QuickSight
from m5_assets.settings import settings

_DEFINITIONS = Path(__file__).parents[3] / "infrastructure" / "quicksight"


@click.group()
def quicksight() -> None:
    """Publish the forecasts to Amazon QuickSight.

    See docs/quicksight.md.
    """


@quicksight.command()
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change and change nothing.")
def apply(only_plan: bool) -> None:
    """Create or update the data source, the datasets and the dashboard.

    Needs a checkout of the repository.
    """
    source = settings().quicksight
    definitions, service = read_definitions(_DEFINITIONS, source), QuickSight.of(source)
    for change in publishing.apply(service, definitions, only_plan=only_plan):
        click.echo(change)
    if not only_plan:
        click.echo(publishing.dashboard_link(service, definitions))
