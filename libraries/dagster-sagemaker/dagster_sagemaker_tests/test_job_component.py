"""`SageMakerJobComponent`: assets declared in YAML, computed by a job of the local runner."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox
from dagster_sagemaker import SageMakerJobComponent
from pydantic import ValidationError

from dagster_sagemaker_tests.conftest import Lab
from dagster_sagemaker_tests.test_pipes_client import REPORT, metadata_of
from dagster_sagemaker_tests.test_sagemaker_resource import local_resource

LIBRARY = Path(__file__).parents[1]
PROGRAM = REPORT.replace('print("week", pipes.partition_key)', 'print("in", *os.listdir(base / "processing/in"))')
DEFS = (LIBRARY / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]


@contextmanager
def loaded(text: str, lab: Lab) -> Iterator[dg.Definitions]:
    """The definitions of a defs.yaml as a Dagster project would load it, and the resource."""
    with create_defs_folder_sandbox() as sandbox:
        place = sandbox.scaffold_component(component_cls=SageMakerJobComponent, defs_yaml_contents=yaml.safe_load(text))
        with sandbox.load_component_and_build_defs(defs_path=place) as (component, defs):
            assert isinstance(component, SageMakerJobComponent)
            yield dg.Definitions.merge(defs, dg.Definitions(resources={"sagemaker": local_resource(lab)}))


def test_assets_in_yaml_are_computed_by_a_processing_job(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURES_IMAGE", lab.image("features", PROGRAM))
    lab.put("in/2016-04-18/april.txt", "a")
    lab.put("in/2016-05-16/may.txt", "a")
    with loaded(DEFS, lab) as defs:
        (asset,) = defs.resolve_all_asset_specs()
        assert asset.key == dg.AssetKey(["demand", "features"])
        assert asset.group_name == "demand"
        definition = defs.resolve_assets_def(asset.key)
        assert definition.op.pool == "sagemaker"
        result = dg.materialize([definition], partition_key="2016-05-16")
    metadata = metadata_of(result)
    assert (metadata["rows"], metadata["extra"]) == (3, 2)
    (name,) = lab.jobs("processing")
    assert name.startswith("demand-features-2016-05-16-")
    assert (lab.lake / "out" / name / "rows.txt").read_text() == "3"
    assert "in may.txt" in lab.log("processing", name)


def test_assets_and_checks_are_computed_by_a_training_job(lab: Lab) -> None:
    lab.put("in/a.txt", "a")
    image = lab.image(
        "train",
        """
        from dagster_pipes import open_dagster_pipes
        with open_dagster_pipes() as pipes:
            for key in ("model", "importance"):
                pipes.report_asset_materialization(asset_key=key, metadata={"trees": 7})
            pipes.report_asset_check(check_name="converged", passed=True, asset_key="model")
        """,
    )
    attributes = {
        "assets": [{"key": "model"}, {"key": "importance"}],
        "checks": [{"name": "converged", "asset": "model"}],
        "create_training_job_params": lab.training(image),
    }
    document = {"type": "dagster_sagemaker.SageMakerJobComponent", "attributes": attributes}
    with loaded(yaml.safe_dump(document), lab) as defs:
        definition = defs.resolve_assets_def("model")
        result = dg.materialize([definition])
    events = result.get_asset_materialization_events()
    assert {event.materialization.asset_key.to_user_string() for event in events} == {"model", "importance"}
    assert all(event.materialization.metadata["trees"].value == 7 for event in events)
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("converged", True)
    assert len(lab.jobs("training")) == 1


@pytest.mark.parametrize(("settings", "attempts"), [({}, 1), ({"reuse_completed": False}, 2)])
def test_materialized_twice_a_completed_job_is_reused_or_run_again(
    lab: Lab, settings: dict[str, bool], attempts: int
) -> None:
    lab.put("in/a.txt", "a")
    request = lab.processing(lab.image("nop", ""))
    component = SageMakerJobComponent(
        assets=[dg.AssetSpec("features")], create_processing_job_params=request, **settings
    )
    (definition,) = component.build_defs(dg.ComponentTree.for_test().load_context).assets or ()
    assert isinstance(definition, dg.AssetsDefinition)
    for _ in range(2):
        assert dg.materialize([definition], resources={"sagemaker": local_resource(lab)}).success
    assert len(lab.jobs("processing")) == attempts


@pytest.mark.parametrize("requests", [{}, {"create_processing_job_params": {}, "create_training_job_params": {}}])
def test_exactly_one_request_is_given(requests: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        SageMakerJobComponent(assets=[dg.AssetSpec("model")], **requests)


def test_dagster_s_command_line_finds_the_component() -> None:
    project = tomllib.loads((LIBRARY / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["dagster_dg_cli.registry_modules"].values()
    listed = {name: getattr(import_module(module), name) for name in dir(import_module(module))}
    assert listed["SageMakerJobComponent"] is SageMakerJobComponent
    assert [name for name, value in listed.items() if isinstance(value, type) and issubclass(value, dg.Component)] == [
        "SageMakerJobComponent"
    ]
