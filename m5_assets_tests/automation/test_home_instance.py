"""Dagster's instance in M5_HOME, as Dagster's own commands make it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from m5_assets.clone import CLONE
from m5_assets.dagster_internals import TMP_DAGSTER_HOME_PREFIX, InstanceRef
from m5_assets.sample import write_sample
from m5_assets.settings import settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("M5_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path / "home"
    monkeypatch.undo()
    settings.cache_clear()


def _made_like_dagster_dev(folder: Path) -> dg.DagsterInstance:
    folder.mkdir(exist_ok=True)
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), config_dir=str(CLONE)))


def test_a_temporary_instance_is_kept_in_the_home(home: Path, tmp_path: Path) -> None:
    temporary = tmp_path / f"{TMP_DAGSTER_HOME_PREFIX}x"
    with _made_like_dagster_dev(temporary) as instance:
        assert instance.root_directory == str(home / "dagster")
        assert type(instance.run_launcher).__name__ == "LocalRunLauncher"
    assert [*temporary.iterdir()] == []
    assert (home / "dagster" / "dagster.yaml").resolve() == CLONE / "dagster.yaml"
    assert (home / "dagster" / "history" / "runs.db").exists()
    assert home.stat().st_mode & 0o077 == 0


def test_an_instance_in_a_folder_of_its_own_stays_there(home: Path, tmp_path: Path) -> None:
    with _made_like_dagster_dev(tmp_path / "own") as instance:
        assert instance.root_directory == str(tmp_path / "own")
    assert not home.exists()


def test_the_link_to_a_clone_that_has_moved_is_renewed_and_a_users_own_file_stays(home: Path, tmp_path: Path) -> None:
    (home / "dagster").mkdir(parents=True)
    config = home / "dagster" / "dagster.yaml"
    config.symlink_to(tmp_path / "gone" / "dagster.yaml")
    _made_like_dagster_dev(tmp_path / f"{TMP_DAGSTER_HOME_PREFIX}x").dispose()
    assert config.resolve() == CLONE / "dagster.yaml"
    config.unlink()
    config.write_text("telemetry: {enabled: false}")
    _made_like_dagster_dev(tmp_path / f"{TMP_DAGSTER_HOME_PREFIX}x").dispose()
    assert config.read_text() == "telemetry: {enabled: false}"


def test_dagsters_commands_work_without_variables_and_share_the_runs_of_m5(home: Path) -> None:
    write_sample(home / "landing", items=7, weeks=7, seed=1)
    given = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}

    def said(program: str, *arguments: str) -> str:
        path = Path(sys.executable).with_name(program)
        done = subprocess.run(
            [path, *arguments], cwd=CLONE, env=given, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    assert "Validation successful for code location m5_assets." in said("dagster", "definitions", "validate")
    assert "All definitions loaded successfully" in said("dg", "check", "defs")
    assert "ensemble_forecast" in said("dg", "list", "defs", "--json")
    said(
        "dagster",
        "asset",
        "materialize",
        "--select",
        "raw_sales",
        "--partition",
        "2016-05-16",
        "-m",
        "m5_assets.definitions",
    )
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        (run,) = instance.get_runs()
        assert run.is_success
        assert run.tags["dagster/partition"] == "2016-05-16"
