"""`m5 …`: what Dagster's own command line does not offer.

Not here: the work itself; every command calls one function of another module. Modules that take long to load are
imported by the command that needs them, so that `m5 --help` answers at once.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from m5_assets.errors import UserError
from m5_assets.settings import settings

if TYPE_CHECKING:
    from m5_assets.weeks import Week


class _WeekType(click.ParamType[object]):
    name = "week"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        from m5_assets.weeks import Week

        if isinstance(value, Week):
            return value
        try:
            return Week.parse(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


WEEK = _WeekType()


class _ListType(click.ParamType[object]):
    """Values of one type, joined by commas."""

    def __init__(self, of: click.ParamType[Any], name: str) -> None:
        self.of, self.name = of, name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        return [self.of.convert(part.strip(), param, ctx) for part in str(value).split(",")]


@click.group()
def cli() -> None:
    """Weekly sales forecasts: sample data, forecasts, backfills, exports.

    Settings are environment variables, M5_*; see docs/settings.md.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    for name in ("m5", "m5_assets"):
        logging.getLogger(name).setLevel(logging.INFO)
    settings()


@cli.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--items", default=100, show_default=True, help="Products; each is sold in ten stores.")
@click.option("--weeks", default=60, show_default=True, help="Weeks of sales, the last one ending at d_1941.")
@click.option("--seed", default=1, show_default=True)
def sample(directory: Path, items: int, weeks: int, seed: int) -> None:
    """Write a generated data set in Kaggle's form to DIRECTORY."""
    from m5_assets.sample import write_sample

    write_sample(directory, items=items, weeks=weeks, seed=seed)


@cli.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week, such as 2016-05-16.")
def forecast(week: object) -> None:
    """Make one week's forecast and everything that it needs, from the landed files to PostgreSQL."""
    from m5_assets.cli.runs import forecast_week

    forecast_week(week)  # type: ignore[arg-type]  # click has converted it


@cli.command()
@click.option("--from", "first", required=True, type=WEEK, help="First week.")
@click.option("--to", "last", required=True, type=WEEK, help="Last week, included.")
@click.option(
    "--again", is_flag=True, help="Make also the weeks that are made; no job is paid twice for the same work."
)
def backfill(first: object, last: object, again: bool) -> None:
    """Make the forecasts of exactly the weeks asked for, oldest first, and the accuracy of those that have matured.

    Stopped and called again, it goes on where it was. Weeks whose sales were corrected since are made anew.
    """
    from m5_assets.cli.runs import backfill_weeks, score_weeks
    from m5_assets.weeks import Week, weeks_between

    assert isinstance(first, Week) and isinstance(last, Week)  # noqa: S101, PT018  # click has converted them
    weeks = weeks_between(first, last)
    if not weeks:
        raise click.UsageError(f"--from {first} is later than --to {last}")
    made = backfill_weeks(weeks, again=again)
    scored = score_weeks(weeks)
    click.echo(f"{len(weeks)} weeks asked for, {len(made)} made, {len(scored)} matured and scored", err=True)


@cli.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week.")
def score(week: object) -> None:
    """Measure the accuracy of a week's forecast, once its 28 days are landed."""
    from m5_assets.cli.runs import score_weeks
    from m5_assets.weeks import Week

    assert isinstance(week, Week)  # noqa: S101  # click has converted it
    if not score_weeks([week]):
        raise click.ClickException(f"the sales through {week.last_forecast_day} are not landed yet: nothing to score")


@cli.command()
@click.option("--weeks", type=_ListType(WEEK, "weeks"), help="First days of weeks: 2016-03-21,2016-04-18.")
@click.option("--origins", type=_ListType(click.INT, "days"), help="Or their last days' numbers: 1885,1913.")
@click.option("--again", is_flag=True, help="Forecast and score also the weeks that are in the lake.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file; default: the terminal.")
def backtest(weeks: list[Week] | None, origins: list[int] | None, again: bool, output: Path | None) -> None:
    """Forecast and score past weeks, where not done yet, and report the accuracy of all of them."""
    from m5_assets.cli import backtest as backtests
    from m5_assets.resources.lake import Lake
    from m5_assets.resources.landing_files import Landing

    if weeks is not None and origins is None:
        chosen = f"--weeks {','.join(str(week) for week in weeks)}"
    elif origins is not None and weeks is None:
        chosen = f"--origins {','.join(str(day) for day in origins)}"
        weeks = backtests.weeks_of_origins(origins, Landing(settings().landing).calendar())
    else:
        raise click.UsageError("give either --weeks or --origins")
    lake, command = Lake(root=settings().lake), f"m5 backtest {chosen}"
    backtests.make(lake, weeks, again=again)
    found = backtests.collect(lake, weeks)
    if output is None:
        click.echo(backtests.report(found, command))
    else:
        backtests.write(found, f"{command} --output {output}", output)


@cli.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week.")
@click.option("--format", "form", type=click.Choice(["kaggle"]), default="kaggle", show_default=True)
@click.option("--suffix", type=click.Choice(["evaluation", "validation"]), default="evaluation", show_default=True)
@click.option("--model", type=click.Choice(["ensemble", "gbm", "lstm"]), default="ensemble", show_default=True)
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def export(week: object, form: str, suffix: str, model: str, output: Path) -> None:
    """Write a week's forecast to a file: id, F1 … F28, a row a series."""
    from m5_assets.cli.export import write_kaggle
    from m5_assets.resources.lake import Lake, MissingInput
    from m5_assets.weeks import Week

    assert isinstance(week, Week)  # noqa: S101  # click has converted it
    try:
        rows = write_kaggle(Lake(root=settings().lake), week, output, model=model, suffix=suffix)
    except MissingInput as problem:
        raise UserError(problem.description) from problem
    click.echo(f"{rows:,} series of week {week}, {model}, in {form}'s form -> {output}")


@cli.command()
@click.option("--week", required=True, type=WEEK, help="The week that was forecast.")
@click.option("--scored", type=WEEK, help="A week whose accuracy is shown.")
def summary(week: object, scored: object) -> None:
    """Print what is there: rows in PostgreSQL, accuracy, where to look next."""
    from m5_assets.cli.summary import print_summary

    print_summary(week, scored)  # type: ignore[arg-type]  # click has converted them


@cli.command()
@click.option("--week", required=True, type=WEEK, help="The week that was forecast.")
@click.option("--item", required=True, help="Such as FOODS_3_090.")
@click.option("--store", required=True, help="Such as CA_3.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="One of the 28 days; default: the mean of all.")
def explain(week: object, item: str, store: str, date: dt.datetime | None) -> None:
    """Say why the GBM forecasts what it does: the factor of each family of features, the strongest features."""
    from m5_assets.cli.explain import explain_series
    from m5_assets.resources.lake import Lake, MissingInput
    from m5_assets.weeks import Week

    assert isinstance(week, Week)  # noqa: S101  # click has converted it
    try:
        click.echo(explain_series(Lake(root=settings().lake), week, item, store, date.date() if date else None))
    except MissingInput as problem:
        raise UserError(problem.description) from problem


@cli.command()
@click.option("--json", "form", flag_value="json", help="A JSON list, for programs.")
@click.option("--markdown", "form", flag_value="markdown", help="The text of docs/features.md.")
def features(form: str | None) -> None:
    """List every feature: name, family, unit, definition; a star marks those that the GBM uses."""
    from m5_assets.cli import catalogue

    click.echo({"json": catalogue.as_json, "markdown": catalogue.as_markdown}.get(form or "", catalogue.as_text)())


@cli.command()
@click.option("--notify", is_flag=True, help="Send what is wrong over the channels of the alerts, for a clock outside.")
def doctor(notify: bool) -> None:
    """Look at the whole installation and say what to do; the exit code is 1 where something is wrong."""
    from m5_assets.cli import doctor as doctors

    findings = doctors.examine(settings())
    click.echo(doctors.report(findings))
    if notify:
        doctors.notify(findings, settings())
    if any(finding.level == "wrong" for finding in findings):
        sys.exit(1)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def housekeeping(dry_run: bool) -> None:
    """Remove what M5_RETENTION_* does not keep and no forecast in force needs."""
    from m5_assets.cli.runs import clean

    for line in clean(dry_run=dry_run):
        click.echo(line)


@cli.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback: Dagster's UI has no login of its own.")
def ui(port: int, host: str) -> None:
    """Start Dagster's webserver and daemon."""
    from m5_assets.cli.runs import prepare_instance

    prepare_instance()
    workspace = Path(__file__).parents[2] / "workspace.yaml"
    command = ["dagster", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
    os.execvp(str(Path(sys.executable).with_name("dagster")), command)  # noqa: S606  # our own command, no shell


@cli.command()
@click.option("--port", default=8050, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback: the pages ask for no password.")
def dashboard(port: int, host: str) -> None:
    """Serve the planner's pages: overview, explore, exceptions, accuracy."""
    from m5_assets.dashboard.web_server import serve

    serve(host, port)


@cli.command()
@click.option("--week", required=True, type=WEEK, help="First day of the week.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: forecast-WEEK.html.")
def report(week: object, output: Path | None) -> None:
    """Write a week's report: one HTML file with everything in it, to be mailed."""
    from m5_assets.report import write_report
    from m5_assets.resources.postgres import PostgresResource
    from m5_assets.weeks import Week

    assert isinstance(week, Week)  # noqa: S101  # click has converted it
    source = settings()
    database = PostgresResource(url=source.database_url.get_secret_value(), home=str(source.home))
    target = output or Path(f"forecast-{week}.html")
    click.echo(f"report of week {week}, {write_report(database.engine, week, target):,} bytes -> {target}")


@cli.command()
@click.option("--environment", required=True, help="Name of a file in infrastructure/environments, such as dev.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask; refused where a database, bucket, key or repository would go.")
@click.option("--undo", is_flag=True, help="Go back to the last deployment that succeeded before the last one.")
def deploy(environment: str, only_plan: bool, yes: bool, undo: bool) -> None:
    """Deploy the AWS stacks and images of an environment, from a checkout: docs/aws.md."""
    from m5_assets.extras.deployment.command import run

    run(environment, only_plan=only_plan, yes=yes, undo=undo)


@cli.group()
def quicksight() -> None:
    """Show the forecasts in Amazon QuickSight: docs/quicksight.md."""


@quicksight.command("apply")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, and change nothing.")
def quicksight_apply(only_plan: bool) -> None:
    """Create or update the data source, the data sets and the dashboard, from a checkout."""
    from m5_assets.extras.quicksight.definition_files import read_definitions
    from m5_assets.extras.quicksight.publishing import apply, dashboard_link
    from m5_assets.extras.quicksight.quicksight_api import QuickSight

    source = settings().quicksight
    definitions = read_definitions(Path(__file__).parents[2] / "infrastructure" / "quicksight", source)
    service = QuickSight(source)
    for change in apply(service, definitions, only_plan=only_plan):
        click.echo(change)
    if not only_plan:
        click.echo(dashboard_link(service, definitions))


def main() -> None:
    """Run the command line; what a user can mend is said in a line, without a traceback."""
    try:
        cli()
    except UserError as problem:
        click.echo(f"Error: {problem}", err=True)
        sys.exit(1)
