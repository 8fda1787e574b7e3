"""`m5 backfill`: a range of past weeks, in order, each with the models of its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import click
import dagster as dg

from m5_assets.assets.features import WEEKS_PER_JOB, are_computed
from m5_assets.automation.due_weeks import FORECAST
from m5_assets.automation.jobs import DASHBOARDS, RDS_FORECAST, feature_weeks, weekly_forecast
from m5_assets.automation.jobs import FORECAST as FORECAST_ASSETS
from m5_assets.automation.landed_loads import TABLES
from m5_assets.automation.run_statuses import FINISHED
from m5_assets.cli.back_history import check_landed, load_landed
from m5_assets.cli.instance import dagster_home
from m5_assets.cli.parameters import WEEK
from m5_assets.cli.run_display import duration
from m5_assets.cli.runs import execute, one_week, week_range
from m5_assets.cli.score import score_weeks
from m5_assets.dagster_internals import PARTITION_NAME_TAG
from m5_assets.readers.known_inputs import KnownInputs
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import settings
from m5_assets.weeks import Week, weeks_between

log = logging.getLogger("m5")

_BACKFILLED = FORECAST_ASSETS | RDS_FORECAST | DASHBOARDS
"""The assets built for each week; the landed files of all weeks are loaded before the first one."""


@click.command()
@click.option("--from", "first", required=True, type=WEEK, help="First week.")
@click.option("--to", "last", required=True, type=WEEK, help="Last week, inclusive.")
@click.option("--again", is_flag=True, help="Rebuild weeks that already exist; finished jobs are reused.")
def backfill(first: Week, last: Week, again: bool) -> None:
    """Forecast a range of past weeks and score those it can.

    Safe to interrupt: rerunning resumes. Weeks whose input was corrected since are rebuilt.
    """
    weeks = weeks_between(first, last)
    if not weeks:
        raise click.UsageError(f"--from {first} is later than --to {last}")
    built = backfill_weeks(weeks, again=again)
    scored = score_weeks(weeks)
    click.echo(f"{len(weeks)} weeks requested, {len(built)} forecast, {len(scored)} scored", err=True)


def backfill_weeks(weeks: list[Week], *, again: bool = False) -> list[Week]:
    """Forecast these weeks, oldest first, and return those that were forecast now.

    The history of all weeks is loaded first, in as few runs as there are gaps. Then each week is one run; before every
    tenth week one run computes the features of the next ten. Weeks whose last run succeeded and whose inputs have not
    changed since are skipped, so an interrupted backfill resumes.

    Args:
        weeks: in any order.
        again: skip none.

    Raises:
        RunFailed: a step failed.
        UserError: the landed files are invalid, or do not contain a week or enough history; nothing was run.
    """
    weeks = sorted(weeks)
    check_landed(weeks)
    load_landed(weeks, tables=TABLES)
    todo = weeks if again else [week for week in weeks if not _is_current(week)]
    log.info("%d weeks requested, %d of them to forecast", len(weeks), len(todo))
    begin = time.monotonic()
    for number, week in enumerate(todo, start=1):
        _compute_features(todo[number - 1 :])
        passed = time.monotonic() - begin
        left = f", about {duration(passed / (number - 1) * (len(todo) - number + 1))} left" if number > 1 else ""
        execute(weekly_forecast, one_week(week), _BACKFILLED, note=f"{number} of {len(todo)} weeks{left}")
    return todo


def _is_current(week: Week) -> bool:
    """Return whether the week's last run succeeded and its inputs have not changed since."""
    dagster_home()
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(
            dg.RunsFilter(job_name="weekly_forecast", tags={PARTITION_NAME_TAG: week.key}, statuses=FINISHED),
            limit=1,
        )
    lake = Lake(root=settings().lake)
    built = lake.find(FORECAST, week.key) is not None and bool(runs) and runs[0].is_success
    return built and not KnownInputs(lake).changed(week)


def _compute_features(weeks: Sequence[Week]) -> None:
    """Compute missing features of the first week, together with those of the weeks that directly follow it."""
    source = settings()
    lake = Lake(root=source.lake)
    image = SageMakerJobs(home=str(source.home), lake=lake, job_settings=source.sagemaker).image("features")
    inputs, policy = KnownInputs(lake), ForecastPolicy.of(source)
    todo = []
    for place, week in enumerate(weeks[:WEEKS_PER_JOB]):
        if week != weeks[0].shift(place) or are_computed(lake, inputs.at(week, policy), image):
            break
        todo.append(week)
    if len(todo) > 1:  # a single week's own run computes them as well
        execute(feature_weeks, week_range(todo[0], todo[-1]))
