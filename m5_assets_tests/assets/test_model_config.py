from __future__ import annotations

import subprocess
import sys
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from m5_assets.assets.model_config import launchpad_config, training_hyperparameters
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.hyperparameters import Hyperparameters
from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.totals.config import TotalsConfig

MODELS: list[type[Hyperparameters]] = [GBMConfig, LSTMConfig, TotalsConfig]


def run(model: type[Hyperparameters], given: dict[str, str], chosen: dict[str, Any]) -> dict[str, str]:
    """Materialize an asset with this config in the Launchpad; return the hyperparameters of its training job."""
    config_class = launchpad_config(model, given)
    found: list[dict[str, str]] = []

    @dg.asset(config_schema=config_class.to_fields_dict())
    def trained(context):  # type: ignore[no-untyped-def]  # Dagster cannot resolve postponed annotations of a local function
        config = config_class(**context.op_execution_context.op_config)
        found.append(training_hyperparameters(config, given))

    config = {"ops": {"trained": {"config": chosen}}} if chosen else None
    assert dg.materialize([trained], run_config=config).success
    return found[0]


@pytest.mark.parametrize("model", MODELS)
def test_the_launchpad_shows_every_hyperparameter_with_default_and_description(model: type[Hyperparameters]) -> None:
    shown = launchpad_config(model, {"seed": "7"}).to_fields_dict()
    assert list(shown) == list(model.model_fields)
    for name, field in model.model_fields.items():
        assert shown[name].default_value == (7 if name == "seed" else field.default)
        assert field.description
        assert (shown[name].description or "").startswith(field.description)
    assert (shown["seed"].description or "").endswith("(at least 0)")
    assert (shown["learning_rate"].description or "").endswith(("(above 0, at most 1)", "(above 0)"))


@pytest.mark.parametrize("model", MODELS)
def test_unchanged_defaults_leave_the_jobs_hyperparameters_alone(model: type[Hyperparameters]) -> None:
    assert run(model, {}, {}) == {}
    assert run(model, {"learning_rate": "0.050"}, {"seed": 1}) == {"learning_rate": "0.050"}


def test_changes_in_the_launchpad_reach_the_job() -> None:
    found = run(GBMConfig, {"learning_rate": "0.05", "leaves": "31"}, {"leaves": 127, "family": "global"})
    assert found == {"learning_rate": "0.05", "leaves": "127", "family": "global"}
    assert GBMConfig.from_hyperparameters(found) == GBMConfig(learning_rate=0.05, leaves=127, family="global")


@pytest.mark.parametrize(
    ("model", "chosen", "words"),
    [
        (GBMConfig, {"learning_rate": 1.5}, "less than or equal to 1"),
        (GBMConfig, {"leaves": 1}, "greater than or equal to 2"),
        (LSTMConfig, {"hidden": 30}, "multiple of 4"),
        (TotalsConfig, {"origin_step": 10}, "multiple of 7"),
    ],
)
def test_the_launchpad_rejects_values_outside_the_limits(
    model: type[Hyperparameters], chosen: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        run(model, {}, chosen)


@pytest.mark.parametrize(("chosen", "word"), [({"device": "tpu"}, "tpu"), ({"epochs": 3}, "epochs")])
def test_the_launchpad_rejects_unknown_names_and_choices(chosen: dict[str, Any], word: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=word):
        run(LSTMConfig, {}, chosen)


def test_hyperparameters_are_config_by_inheritance() -> None:
    class GBMRunConfig(dg.Config, GBMConfig):
        pass

    assert list(GBMRunConfig.to_fields_dict()) == list(GBMConfig.model_fields)
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        GBMRunConfig(leaves=1)


def test_the_configs_load_neither_lightgbm_nor_torch() -> None:
    modules = ", ".join(model.__module__ for model in MODELS)
    program = f"import sys, {modules}; sys.exit(bool({{'lightgbm', 'torch'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)
