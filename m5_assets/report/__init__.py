"""The week's report: one self-contained HTML file without scripts, fit for mailing.

Its numbers come from the dashboard's queries and rules.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine

from m5_assets.dashboard import accuracy_page, colours, exception_rules, formatting, overview_page
from m5_assets.dashboard.database import NoDatabase, NoTables, NoWeek, Reader, SuperuserLogin, reading
from m5_assets.dashboard.exceptions_page import ExceptionLists, counts
from m5_assets.errors import UserError
from m5_assets.model_specs import MEMBERS
from m5_assets.report import plots
from m5_assets.weeks import Week

EXCEPTIONS = 20


def write_report(engine: Callable[[], Engine], week: Week, output: Path) -> int:
    """Write a week's report atomically and return its size in bytes.

    Raises:
        UserError: if the database does not respond or does not have the week; the message says what to do.
    """
    try:
        with reading(engine) as reader:
            page = report(reader, week)
    except SuperuserLogin as problem:
        raise UserError(str(problem)) from problem
    except NoDatabase as problem:
        raise UserError(f"the database does not respond ({problem}): start it or set M5_DATABASE_URL") from problem
    except (NoTables, NoWeek) as problem:
        raise UserError(f"no week is loaded yet: run m5 forecast --week {week}") from problem
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".report-") as folder:
        (Path(folder) / output.name).write_text(page, encoding="utf-8")
        return (Path(folder) / output.name).replace(output).stat().st_size


def report(reader: Reader, week: Week) -> str:
    """Return the report as HTML.

    Raises:
        UserError: if the week is not in the database.
        NoWeek: if the database has no week at all.
    """
    weeks = reader.weeks()
    if week not in weeks:
        raise UserError(
            f"week {week} is not in the database, which holds {weeks[-1]} to {weeks[0]}: run m5 forecast --week {week}"
        )
    listed = ExceptionLists().of(reader, week)
    days = overview_page.daily_totals(reader, week)
    context = {
        "week": week,
        "groups": overview_page.comparison(reader, week),
        "revenue": overview_page.revenue(reader, week),
        "events": overview_page.events(reader, week.shift(1).first_day, week.last_forecast_day).to_dict("records"),
        "totals_plot": plots.totals(days),
        "exceptions": listed.head(EXCEPTIONS).to_dict("records"),
        "exception_counts": counts(listed),
        "loads": reader.loads(week),
        "kinds": exception_rules.KINDS,
        "members": {member.name: member.label for member in MEMBERS},
        "colours": colours,
        "ratio": formatting.ratio,
        **_accuracy(reader, week),
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= formatting.FILTERS
    return environment.get_template("report.html").render(context)


def _accuracy(reader: Reader, week: Week) -> dict[str, Any]:
    """Return the scores known at this week's origin, newest first, and the plot of the newest week's levels."""
    matured = [scored for scored in reader.scored_weeks() if scored.last_forecast_day <= week.origin]
    if not matured:
        return {"scores": [], "scores_plot": None}
    newest = accuracy_page.Scores(reader, matured[0])
    over_weeks = newest.over_weeks
    over_weeks = over_weeks[over_weeks["week"].isin([scored.first_day for scored in matured])]
    wrmsse = over_weeks.pivot_table(index="week", columns="model", values="wrmsse").to_dict("index")
    bias = over_weeks[over_weeks["model"] == "ensemble"].set_index("week")["bias"].to_dict()
    scores = [{"week": w, "wrmsse": wrmsse[w.first_day], "bias": bias[w.first_day]} for w in matured]
    return {"scores": scores, "scores_plot": plots.levels(newest.by_level, matured[0])}
