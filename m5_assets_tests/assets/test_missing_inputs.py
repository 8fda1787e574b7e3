"""Assets that are materialized alone in an empty lake: each names what is missing and its remedy; no job starts."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from m5_assets.definitions import build_defs
from m5_assets.resources.lake import Lake
from m5_assets.resources.sagemaker_jobs import SageMakerJobs
from m5_assets.settings import JobSettings
from m5_assets.weeks import Week

WEEK = Week.parse("2016-04-18")
NEEDS = {
    "features": ("raw_sales", f"run `m5 forecast --week {WEEK}`, or materialize raw_sales for all weeks up to {WEEK}"),
    "gbm_model": ("features", "materialize features for this week first"),
    "lstm_model": ("features", "materialize features for this week first"),
    "totals_model": ("features", "materialize features for this week first"),
    "gbm_predictions": ("features", "materialize features for this week first"),
    "lstm_predictions": ("features", "materialize features for this week first"),
    "totals_forecast": ("features", "materialize features for this week first"),
    "ensemble_weights": ("raw_sales", f"run `m5 forecast --week {WEEK}`, or materialize raw_sales"),
    "ensemble_forecast": ("gbm_predictions", "materialize gbm_predictions for this week first"),
    "forecast_accuracy": ("raw_sales", "can be scored once the sales through 2016-05-22 are loaded"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_an_asset_alone_names_what_it_lacks_and_starts_no_job(name: str, tmp_path: Path) -> None:
    missing, remedy = NEEDS[name]
    lake = Lake(root=str(tmp_path / "lake"))
    jobs = SageMakerJobs(home=str(tmp_path), lake=lake, job_settings=JobSettings())
    definitions = build_defs({"lake": lake, "sagemaker": jobs})
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, partition_key=WEEK.key, asset_selection=[dg.AssetKey(name)], raise_on_error=False
        )
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    problem = failed.step_failure_data.user_failure_data
    assert problem is not None
    text = str(problem.description)
    assert text.startswith(f"{missing}, week ")
    assert remedy in text
    assert not list(tmp_path.glob("sagemaker/jobs/*/*"))
