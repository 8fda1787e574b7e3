from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from m5_assets.cli.features import as_markdown
from m5_assets.cli.main import cli
from m5_assets.forecasting.features import NAMES


def test_the_docs_match_the_code() -> None:
    assert (Path(__file__).parents[2] / "docs" / "features.md").read_text() == as_markdown() + "\n"


def test_machine_readable_output_has_every_feature_in_full() -> None:
    rows = json.loads(CliRunner().invoke(cli, ["features", "--json"]).stdout)
    assert [row["name"] for row in rows] == list(NAMES)
    assert len(rows) >= 200
    assert all(row["definition"] and row["unit"] and row["known_from"] in ("origin", "horizon") for row in rows)


def test_the_terminal_shows_one_line_per_feature() -> None:
    lines = CliRunner().invoke(cli, ["features"]).stdout.splitlines()
    assert len(lines) == len(NAMES)
    assert any(line.startswith("* rolling_mean_28 ") for line in lines)
