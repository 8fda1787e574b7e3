"""A complete platform in a folder of its own, which tests use through the command line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from m5_assets.resources.lake import Lake
from m5_assets.resources.postgres import PostgresResource
from m5_assets.resources.postgres.load import read_forecast
from m5_assets.weeks import Week

DATASETS = (
    "store_dept_sales",
    "features",
    "gbm_model",
    "lstm_model",
    "totals_model",
    "gbm_predictions",
    "lstm_predictions",
    "totals_forecast",
    "ensemble_weights",
    "ensemble_forecast",
)
"""Every dataset that a week writes to the lake."""
HISTORY_WEEKS = 30
"""The history that a home's weeks use and need, unless a test says otherwise: every landed week costs its checks."""


@dataclass(frozen=True)
class Home:
    """A platform with its own landing folder, lake, jobs, database and Dagster instance."""

    path: Path
    database_url: str = ""
    others: dict[str, str] = field(default_factory=dict)
    """Settings that override those of `environment`."""

    @property
    def lake(self) -> Lake:
        return Lake(root=str(self.path / "lake"))

    @property
    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith(("M5_", "DAGSTER_"))} | {
            "M5_HOME": str(self.path),
            "M5_DATABASE_URL": self.database_url,
            "M5_LAST_WEEK": "2016-05-16",
            "M5_HISTORY_WEEKS": str(HISTORY_WEEKS),
            "M5_MIN_HISTORY_WEEKS": str(HISTORY_WEEKS),
            "M5_ALIGNMENT": "1",
            "M5_GBM_HYPERPARAMETERS": '{"iterations": "5", "department_iterations": "5"}',
            "M5_TOTALS_HYPERPARAMETERS": '{"trees_iterations": "5", "stack_iterations": "5"}',
            "M5_LSTM_HYPERPARAMETERS": '{"windows": "1024", "batch_size": "128", "hidden": "16", "encoder_days": "28"}',
            **self.others,
        }

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("m5")), *arguments]

    def m5(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )

    def run(self, *arguments: str) -> str:
        done = self.m5(*arguments)
        assert done.returncode == 0, done.stderr[-6000:]
        return done.stdout

    def hashes(self, dataset: str, week: Week) -> dict[str, str]:
        """Return the SHA-256 of each file of a partition, by its name within the version."""
        manifest = self.lake.get(dataset, week.key)
        found = {}
        for file in manifest.files:
            content = Path(self.lake.path(file.key)).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.sha256
            _, _, _, name = file.key.split(
                "/", 3
            )  # dataset, week (an earlier one for a model carried forward), version
            found[name] = file.sha256
        return found

    def rows(self, week: Week) -> pd.DataFrame:
        """Return the week's forecast from the database."""
        engine = PostgresResource(url=self.database_url, home=str(self.path)).engine()
        rows: pd.DataFrame = read_forecast(engine, week.first_day).to_pandas()
        return rows


def cut_off(source: Path, target: Path, week: Week) -> None:
    """Copy the landing files as of the week's origin: no later sales, no prices or days after the horizon."""
    target.mkdir(parents=True, exist_ok=True)
    calendar = pd.read_csv(source / "calendar.csv", dtype=str, keep_default_na=False)
    calendar = calendar[calendar["date"] <= week.last_forecast_day.isoformat()]
    known = calendar[calendar["date"] <= week.origin.isoformat()]["d"]
    calendar.to_csv(target / "calendar.csv", index=False)
    prices = pd.read_csv(source / "sell_prices.csv", dtype=str)
    prices[prices["wm_yr_wk"].isin(calendar["wm_yr_wk"])].to_csv(target / "sell_prices.csv", index=False)
    sales = pd.read_csv(source / "sales_train_evaluation.csv", dtype=str)
    sales = sales[[c for c in sales.columns if not c.startswith("d_") or c in set(known)]]
    sales.to_csv(target / "sales_train_evaluation.csv", index=False)
