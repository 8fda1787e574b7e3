"""Every script of benchmarks/ runs on the sample and prints what it measures; how fast it was is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from m5_assets_tests.support.home import Home

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WEEK = "2016-04-18"

ON_A_HOME = {
    "weekly_split": (["--instance", "{home}/dagster"], "week 2016-04-18"),
    "backfill": (["--from", WEEK, "--to", WEEK, "--output", "{folder}/backfill.md"], ""),
    "dashboard_pages": (["--times", "1", "--limit", "60"], "| accuracy, worst items |"),
    "totals_backtest": (
        ["{home}/landing", "--last", "1913", "--origins", "1", "trees_iterations=2", "stack_iterations=2"],
        "WRMSSE of levels 1 to 9",
    ),
    "feature_ablation": (
        ["{home}/lake", WEEK, "--share", "0.2", "--iterations", "2", "--seeds", "1"],
        "| price |",
    ),
    "features_vs_mlforecast": (["--landing", "{home}/landing", "--rounds", "1"], "by store"),
}
"""Arguments, and what the output contains, of the scripts that read what a platform has made."""

ALONE = {
    "growth": (
        ["--folder", "{folder}/growth", "--stores", "1", "--items", "30", "--figure", "{folder}/growth.png"],
        "| load, PostgreSQL |",
    ),
    "postgres_load": (["--series", "100", "--rounds", "1"], "bare COPY, binary, same key"),
    "postgres_chaos": (["--series", "500", "--kills", "1"], "a load afterwards: whole"),
    "sagemaker_faults": (["--trials", "1"], "| orphans |"),
    "sagemaker_overhead": (["--jobs", "1"], "| throttled half of the time |"),
}
"""Those of the scripts that make what they need."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a platform with one week that is forecast, loaded and scored."""
    home = Home(tmp_path_factory.mktemp("benchmarks"), others={"M5_HISTORY_WEEKS": "56"})
    home.run("sample", str(home.path / "landing"), "--items", "8", "--weeks", "62", "--seed", "3")
    home.run("forecast", "--week", WEEK)
    home.run("score", "--week", WEEK)
    return home


def run(script: str, arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{script}.py"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_every_script_is_run() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if 'if __name__ == "__main__":' in path.read_text()}
    assert scripts == {*ON_A_HOME, *ALONE, "chaos"}


@pytest.mark.long
@pytest.mark.parametrize("script", ON_A_HOME)
def test_a_script_measures_a_platform(script: str, home: Home, tmp_path: Path) -> None:
    arguments, printed = ON_A_HOME[script]
    filled = [word.format(home=home.path, folder=tmp_path) for word in arguments]
    assert printed in run(script, filled, home.environment)


@pytest.mark.long
@pytest.mark.parametrize("script", ALONE)
def test_a_script_measures_by_itself(script: str, tmp_path: Path) -> None:
    arguments, printed = ALONE[script]
    assert printed in run(script, [word.format(folder=tmp_path) for word in arguments], dict(os.environ))


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root can mount a disk, only on Linux")
def test_a_week_survives_a_power_cut(tmp_path: Path) -> None:
    trials = tmp_path / "trials.jsonl"
    arguments = ["--times", "1", "--sites", "s3", "--faults", "power cut", "--trials", str(trials)]
    assert "| power cut | 1 | 1 |" in run("chaos", arguments, dict(os.environ))
    [trial] = map(json.loads, trials.read_text().splitlines())
    assert (trial["outcome"], trial["rows_lost"], trial["rows_extra"]) == ("by itself", 0, 0)
    assert trial["lake_differs"] == []
