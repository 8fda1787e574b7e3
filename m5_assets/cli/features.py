"""`m5 features`: the feature catalogue for the terminal, for programs and for the docs."""

from __future__ import annotations

import dataclasses
import json

import click

from m5_assets.forecasting.features import CATALOGUE, MODEL_FEATURES

_KNOWN = {"origin": "the origin", "horizon": "28 days ahead"}
_HEAD = """# Features

There are {count} features of a series, a target day and a horizon, as known at the origin. The GBM is trained on the
{used} in bold. `t` is the target day, `h` the horizon, `o = t - h` the origin, `y` the units sold.

`make docs` generates this page from the code; `m5 features --json` prints the same for programs.
"""


@click.command()
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--markdown", "form", flag_value="markdown", help="Print Markdown: the text of docs/features.md.")
def features(form: str | None) -> None:
    """List all features.

    Prints family, unit and definition; a star marks the features that the GBM uses.
    """
    click.echo({"json": as_json, "markdown": as_markdown}.get(form or "", as_text)())


def as_json() -> str:
    """Return the catalogue as a JSON list: name, family, definition, unit, known_from, used_by_gbm."""
    rows = [dataclasses.asdict(f) | {"used_by_gbm": f.name in MODEL_FEATURES} for f in CATALOGUE]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def as_text() -> str:
    """Return one line per feature."""
    width = max(len(f.name) for f in CATALOGUE)
    return "\n".join(
        f"{'*' if f.name in MODEL_FEATURES else ' '} {f.name:<{width}}  {f.family:<14} {f.unit:<14} {f.definition}"
        for f in CATALOGUE
    )


def as_markdown() -> str:
    """Return docs/features.md: one table per family."""
    lines = [_HEAD.format(count=len(CATALOGUE), used=len(MODEL_FEATURES))]
    for family in dict.fromkeys(f.family for f in CATALOGUE):
        lines += [f"## {family}", "", "| feature | unit | known from | definition |", "| --- | --- | --- | --- |"]
        for f in CATALOGUE:
            if f.family == family:
                name = f"**`{f.name}`**" if f.name in MODEL_FEATURES else f"`{f.name}`"
                definition = f.definition.replace("|", "\\|")
                lines.append(f"| {name} | {f.unit} | {_KNOWN[f.known_from]} | {definition} |")
        lines.append("")
    return "\n".join(lines)
