"""The group of all `m5` commands; it imports the module of a command when that command is used.

So `m5 --help` stays fast, and the extras are named here without being imported.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import click

from m5_assets.cli.problems import in_one_line
from m5_assets.errors import Cancelled

_INTERRUPTED = 130
"""The exit status of programs that Ctrl-C ended."""


@dataclass(frozen=True)
class Entry:
    """Where a command is found.

    Attributes:
        module: the module that defines the command under the command's own name.
        summary: its line in `m5 --help`, the first line of its own help.
    """

    module: str
    summary: str


COMMANDS: Mapping[str, Mapping[str, Entry]] = {
    "Forecasts": {
        "forecast": Entry("m5_assets.cli.forecast", "Forecast one week, from the landed files to PostgreSQL."),
        "backfill": Entry("m5_assets.cli.backfill", "Forecast a range of past weeks and score those it can."),
        "score": Entry("m5_assets.cli.score", "Score a week's forecast once its 28 days of sales have landed."),
        "backtest": Entry("m5_assets.cli.backtest", "Forecast and score past weeks and report their accuracy."),
    },
    "Results": {
        "summary": Entry("m5_assets.cli.summary", "Show a week's forecast and accuracy in PostgreSQL."),
        "export": Entry("m5_assets.cli.export", "Write a week's forecast to a CSV file."),
        "report": Entry("m5_assets.cli.report", "Write a week's report as one self-contained HTML file."),
        "explain": Entry("m5_assets.cli.explain", "Explain the GBM's forecast of one item in one store."),
        "features": Entry("m5_assets.cli.features", "List all features."),
    },
    "Operation": {
        "sample": Entry("m5_assets.cli.sample", "Write a generated data set to DIRECTORY."),
        "ui": Entry("m5_assets.cli.ui", "Start Dagster's webserver and daemon."),
        "webserver": Entry("m5_assets.cli.webserver", "Serve Dagster's UI, guarded against other web pages."),
        "dashboard": Entry("m5_assets.cli.dashboard", "Serve the planners' dashboard."),
        "doctor": Entry("m5_assets.cli.doctor", "Check the installation and suggest fixes."),
        "housekeeping": Entry("m5_assets.cli.housekeeping", "Delete old data that no current forecast needs."),
        "migrate": Entry("m5_assets.cli.migrate", "Prepare an external PostgreSQL: login roles and the newest schema."),
    },
    "AWS": {
        "deploy": Entry("m5_assets.extras.deployment.command", "Deploy an environment's AWS stacks and images."),
        "quicksight": Entry("m5_assets.extras.quicksight.command", "Publish the forecasts to Amazon QuickSight."),
    },
}


class _LazyGroup(click.Group):
    """A group whose commands are those of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return [name for entries in COMMANDS.values() for name in entries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for entries in COMMANDS.values():
            if cmd_name in entries:
                command: click.Command = getattr(importlib.import_module(entries[cmd_name].module), cmd_name)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for heading, entries in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])


@click.group(cls=_LazyGroup)
def cli() -> None:
    """Weekly sales forecasts for retail.

    Settings are environment variables named M5_*; see docs/settings.md.
    """
    from m5_assets.settings import settings, unknown_variables

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    for name in ("m5", "m5_assets"):
        logging.getLogger(name).setLevel(logging.INFO)
    settings()  # an invalid setting ends every command here
    for line in unknown_variables():
        click.echo(f"Warning: {line}", err=True)


def main() -> None:
    """Run the command line; an error that the user can fix is printed in one line, without a traceback."""
    try:
        cli()
    except Cancelled as cancelled:
        click.echo(f"Cancelled: {cancelled}", err=True)
        sys.exit(_INTERRUPTED)
    except Exception as problem:
        text = in_one_line(problem)
        if text is None:
            raise
        click.echo(f"Error: {text}", err=True)
        sys.exit(1)
