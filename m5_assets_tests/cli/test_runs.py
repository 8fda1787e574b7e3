"""A run that a command starts says why it failed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from m5_assets.sample import write_sample
from m5_assets_tests.support.home import Home

WEEK = "2016-05-16"


def test_a_blocking_check_that_fails_is_named_with_what_it_found(tmp_path: Path) -> None:
    write_sample(tmp_path / "landing", items=7, weeks=10, seed=1)
    file = tmp_path / "landing" / "sales_train_evaluation.csv"
    sales = pd.read_csv(file)
    sales.iloc[0, -1] = 90_000
    sales.to_csv(file, index=False)
    done = Home(tmp_path, others={"M5_MIN_HISTORY_WEEKS": "8"}).m5("forecast", "--week", WEEK)
    assert done.returncode == 1
    said = done.stderr[done.stderr.index("Error: run ") :]
    assert "raw_sales, check units_in_range: from 0 to 90,000 units" in said
    assert "90,000 of " in said  # the series and the day
    assert "if that is true, set M5_CHECKS_UNITS_FACTOR=" in said
    assert "docs/operations.md" in said
    assert "DagsterAssetCheckFailedError" not in said
    assert "Traceback" not in said
