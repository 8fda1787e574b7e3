#!/usr/bin/env python3
"""Writes a report on a long backfill in the current home: the time and accuracy of each week, as table and plot.

    M5_HOME=... m5 backfill --from 2015-05-25 --to 2016-05-16
    M5_HOME=... python benchmarks/backfill.py --from 2015-05-25 --to 2016-05-16 --output docs/backfill.md

It only reads the instance's runs and the lake. A week's time is that of its last successful forecast run; its accuracy
is from the `accuracy` job, for weeks whose four weeks ahead are known.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import dagster as dg
import pandas as pd
from matplotlib.figure import Figure

from m5_assets.dagster_internals import PARTITION_NAME_TAG
from m5_assets.readers.accuracy_tables import read_accuracy
from m5_assets.resources.lake import Lake
from m5_assets.settings import settings
from m5_assets.weeks import Week, weeks_between

MODELS = ("ensemble", "gbm", "lstm", "average", "seasonal_naive")
MIB = 2**20


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=Week.parse, required=True)
    parser.add_argument("--to", dest="last", type=Week.parse, required=True)
    parser.add_argument("--output", type=Path, required=True, help="Markdown file; the plot is written next to it")
    parser.add_argument("--circumstances", default="", help="paragraph on the machine, settings and other load")
    options = parser.parse_args()
    lake = Lake(root=settings().lake)
    with dg.DagsterInstance.from_config(os.environ.get("DAGSTER_HOME", str(settings().home / "dagster"))) as instance:
        weeks = pd.DataFrame([week_row(instance, lake, w) for w in weeks_between(options.first, options.last)])
        others = {job: job_seconds(instance, job) for job in ("back_history", "feature_weeks", "accuracy")}
    if weeks["seconds"].isna().any():
        missing = weeks.loc[weeks["seconds"].isna(), "week"].tolist()
        raise SystemExit(f"no successful forecast run of {', '.join(missing)}; finish `m5 backfill` first")
    plot = options.output.with_suffix(".png")
    draw(weeks, plot)
    options.output.write_text(report(weeks, others, lake, plot.name, options.circumstances))


def week_row(instance: dg.DagsterInstance, lake: Lake, week: Week) -> dict[str, object]:
    """Return the time and accuracy of one week."""
    filters = dg.RunsFilter(
        job_name="weekly_forecast", tags={PARTITION_NAME_TAG: week.key}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    records = instance.get_run_records(filters, limit=1)
    seconds = (records[0].end_time or 0) - (records[0].start_time or 0) if records else None
    model = lake.find("gbm_model", week.key)
    trained = model is not None and model.attributes["trained_week"] == week.key
    row: dict[str, object] = {"week": week.key, "seconds": seconds, "trained": trained}
    accuracy = lake.find("forecast_accuracy", week.key)
    if accuracy is None:
        return row
    table = read_accuracy(lake, week)
    whole = table[(table["level"] == 0) & (table["horizon_week"] == 0)].set_index("model")
    row |= {model: whole.at[model, "wrmsse"] for model in MODELS}
    return row | {"bias": whole.at["ensemble", "bias"], "scales": accuracy.attributes["weights_and_scales"]}


def job_seconds(instance: dg.DagsterInstance, job: str) -> list[float]:
    """Return the seconds of each successful run of a job."""
    filters = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
    return [(record.end_time or 0) - (record.start_time or 0) for record in instance.get_run_records(filters)]


def draw(weeks: pd.DataFrame, path: Path) -> None:
    """Plot the accuracy and time of each week."""
    figure = Figure(figsize=(9, 6), dpi=90, layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 2])
    for model in MODELS:
        above.plot(weeks["week"], weeks[model], label=model, linewidth=2 if model == "ensemble" else 1)
    above.set_ylabel("WRMSSE")
    above.legend(fontsize=8, ncols=len(MODELS))
    colours = ["tab:red" if trained else "tab:blue" for trained in weeks["trained"]]
    below.bar(weeks["week"], weeks["seconds"] / 60, color=colours)
    below.set_ylabel("minutes (red: models trained)")
    below.set_xticks(range(0, len(weeks), 4), weeks["week"][::4], rotation=60, fontsize=8)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Software": None})


def report(weeks: pd.DataFrame, others: dict[str, list[float]], lake: Lake, plot: str, circumstances: str) -> str:
    """Return the report in Markdown."""
    first, last = weeks["week"].iloc[0], weeks["week"].iloc[-1]
    scored = weeks.dropna(subset=["ensemble"])
    trained, carried = weeks[weeks["trained"]], weeks[~weeks["trained"]]
    better = int((scored["ensemble"] < scored[["gbm", "lstm"]].min(axis=1)).sum())
    facts = {
        "weeks": f"{len(weeks)}, {first} to {last}",
        "time of their forecast runs": f"{weeks['seconds'].sum() / 3600:.1f} h",
        "median week with training": f"{trained['seconds'].median():.0f} s ({len(trained)} weeks)",
        "median week with the models in force": f"{carried['seconds'].median():.0f} s ({len(carried)} weeks)",
        **{f"`{job}`": f"{sum(took) / 60:.0f} min in {len(took)} runs" for job, took in others.items()},
        "weeks scored": f"{len(scored)}",
        "WRMSSE of the ensemble, mean / median / worst": " / ".join(
            f"{value:.4f}" for value in scored["ensemble"].agg(["mean", "median", "max"])
        ),
        "of the seasonal naive, mean": f"{scored['seasonal_naive'].mean():.4f}",
        "weeks in which the ensemble beats both members": f"{better} of {len(scored)}",
        "weeks in which it beats the seasonal naive": f"{int((scored['ensemble'] < scored['seasonal_naive']).sum())}",
        "bias of the ensemble, mean / standard deviation": f"{scored['bias'].mean():+.2%} / {scored['bias'].std():.2%}",
    }
    lines = [
        "# A year of weekly forecasts by one backfill",
        "",
        f"Made by `m5 backfill --from {first} --to {last}` and `benchmarks/backfill.py`. Own weights and scales are "
        "computed from the sales landed up to the origin, official ones are the competition's.",
        *(["", circumstances] if circumstances else []),
        "",
        *table(pd.DataFrame(facts.items(), columns=["", "measured"])),
        "",
        f"![accuracy and time by week]({plot})",
        "",
        "## Disk",
        "",
        *table(disk(lake)),
        "",
        "## Weeks",
        "",
        *table(shown(weeks)),
    ]
    return "\n".join(lines) + "\n"


def disk(lake: Lake) -> pd.DataFrame:
    """Return the disk usage of the lake's datasets and the home's other folders, largest first."""
    folders = [*Path(lake.root).iterdir(), *(settings().home / name for name in ("postgres", "dagster", "sagemaker"))]
    sizes = {path.name: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for path in folders}
    rows = [(name, f"{size / MIB:,.1f}") for name, size in sorted(sizes.items(), key=lambda item: -item[1])]
    return pd.DataFrame([*rows, ("all", f"{sum(sizes.values()) / MIB:,.1f}")], columns=["folder", "MiB"])


def shown(weeks: pd.DataFrame) -> pd.DataFrame:
    """Return the table of weeks with its values formatted as text."""
    text = pd.DataFrame({"week": weeks["week"], "s": weeks["seconds"].map("{:.0f}".format)})
    text["models"] = weeks["trained"].map({True: "trained", False: "carried"})
    for model in MODELS:
        text[model] = weeks[model].map("{:.4f}".format, na_action="ignore").fillna("")
    text["bias"] = weeks["bias"].map("{:+.2%}".format, na_action="ignore").fillna("")
    text["scales"] = weeks["scales"].fillna("")
    return text


def table(frame: pd.DataFrame) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(frame.columns) + " |", "| --- " * len(frame.columns) + "|"]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)]


if __name__ == "__main__":
    main()
