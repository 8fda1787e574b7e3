"""Tests that a new member needs one entry in model_specs and one package in forecasting, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import m5_assets

ENTRY = """    ModelSpec(
        name="naive",
        label="Naive",
        framework="numpy",
        training_part="panel",
        prediction_part="panel",
        about="The mean of the last weeks",
        reads="from the panel; on CPU",
        training_instance="ml.m5.large",
        transform_instance="ml.m5.large",
        hyperparameters=NaiveConfig,
        share=0.1,
    ),
)
\"\"\"The models of single series that the ensemble averages."""
CONFIG = """
from pydantic import Field
from m5_assets.forecasting.hyperparameters import Hyperparameters


class NaiveConfig(Hyperparameters):
    weeks: int = Field(4, ge=1, description="weeks that the mean is taken over")
"""
PROGRAM = """
import json
from m5_assets.definitions import defs
from m5_assets.model_specs import FORECASTS
from m5_assets.resources.forecast_policy import ForecastPolicy
from m5_assets.resources.postgres import schema
from m5_assets.settings import settings

graph = defs.resolve_asset_graph()
run_config = defs.resolve_job_def("weekly_forecast").run_config_schema.config_type.fields["ops"].config_type
print(json.dumps({
    "assets": [key.to_user_string() for key in graph.get_all_asset_keys()],
    "needs": sorted(key.to_user_string() for key in graph.get_all_asset_keys()
                    if any("naive" in parent.to_user_string() for parent in graph.get(key).parent_keys)),
    "checks": [key.to_user_string() for key in graph.asset_check_keys
               if key.asset_key.to_user_string().startswith("naive_")],
    "launchpad": "naive_model" in run_config.fields,
    "image": settings().sagemaker.image("naive"),
    "hyperparameters": settings().hyperparameters("naive"),
    "shares": dict(ForecastPolicy.of(settings()).prior.shares),
    "forecasts": FORECASTS,
    "columns": [column.name for column in schema.forecast.c],
}))
"""


def test_a_member_is_one_entry_and_one_package(tmp_path: Path) -> None:
    package = tmp_path / "m5_assets"
    shutil.copytree(Path(m5_assets.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    specs = package / "model_specs.py"
    text = specs.read_text()
    end = ')\n"""The models of single series that the ensemble averages.'
    assert text.count(end) == 1
    text = text.replace(end, ENTRY)
    specs.write_text(
        text.replace("\nMEMBERS = (", "\nfrom m5_assets.forecasting.naive.config import NaiveConfig\n\nMEMBERS = (")
    )
    (package / "forecasting" / "naive").mkdir()
    (package / "forecasting" / "naive" / "__init__.py").touch()
    (package / "forecasting" / "naive" / "config.py").write_text(CONFIG)

    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "M5_HOME": str(tmp_path / "home"),
        "M5_SAGEMAKER_NAIVE_IMAGE": "an-image",
        "M5_NAIVE_HYPERPARAMETERS": '{"weeks": "6"}',
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert {"naive_model", "naive_predictions"} <= set(found["assets"])
    assert found["needs"] == ["ensemble_forecast", "ensemble_weights", "naive_predictions"]
    assert len(found["checks"]) == 6
    assert found["launchpad"]
    assert (found["image"], found["hyperparameters"]) == ("an-image", {"weeks": "6"})
    assert found["shares"] == pytest.approx({"gbm": 0.7, "lstm": 0.2, "naive": 0.1})
    assert found["forecasts"] == ["gbm", "lstm", "naive", "average", "ensemble"]
    assert "naive" in found["columns"]
