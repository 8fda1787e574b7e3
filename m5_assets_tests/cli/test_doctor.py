"""Tests that the doctor detects each problem of an installation, names the remedy, and continues."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from m5_assets.cli import doctor
from m5_assets.cli.main import cli
from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets.sample import write_sample
from m5_assets.settings import Settings, settings
from m5_assets_tests.resources.conftest import new_home, superuser_of
from m5_assets_tests.resources.test_landing_verification import write_all
from m5_assets_tests.support.alert_servers import http_server
from m5_assets_tests.support.landing_folders import land

NOBODY_LISTENS = "postgresql://m5:hunter2@127.0.0.1:9/m5"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("M5_HOME", str(tmp_path))
    monkeypatch.setenv("M5_DATABASE_URL", NOBODY_LISTENS)
    monkeypatch.setenv("M5_LAST_WEEK", "2016-05-16")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    settings.cache_clear()


def _found(name: str) -> doctor.Diagnosis:
    return next(d for d in doctor.examine(settings()) if d.name == name)


def test_a_fresh_folder_gets_a_list_of_what_is_missing(home: Path) -> None:
    findings = {d.name: d for d in doctor.examine(settings())}
    levels = {name: finding.level for name, finding in findings.items()}
    assert levels == {
        "versions": "good",
        "folders": "good",
        "disk": levels["disk"],  # depends on the machine
        "landing": "wrong",
        "lake": "note",
        "models": "good",
        "database": "wrong",
        "credentials": "good",
        "alerts": "note",
        "daemon": "wrong",
        "schedules": "note",
    } | ({"ports": levels["ports"]} if "ports" in levels else {})  # depends on the machine
    assert all(finding.remedy for finding in findings.values() if finding.level != "good")
    assert "m5 sample" in findings["landing"].remedy
    said = doctor.report(list(findings.values()))
    assert "3 problems found" in said
    assert "hunter2" not in said


def test_a_landing_that_ends_too_early_is_wrong_and_a_complete_one_good(home: Path) -> None:
    write_sample(home / "landing", items=7, weeks=2, seed=1)
    assert _found("landing").level == "good"
    shutil.copy(home / "landing" / "sales_train_evaluation.csv", home / "landing" / "sales_train_validation.csv")
    doubled = _found("landing")
    assert (doubled.level, doubled.text.partition(",")[0]) == ("note", "sales_train_validation.csv is not read")
    (home / "landing" / "sell_prices.csv").unlink()
    assert _found("landing").text == f"no sell_prices.csv in {home / 'landing'}"


def test_closed_days_of_an_unknown_store_are_wrong(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_all(LandingFolder(root=str(land(home / "landing"))), Lake(root=str(home / "lake"))) == []
    monkeypatch.setenv("M5_CLOSED_DAYS", "CA_1:12-25,WI3:12-25")
    settings.cache_clear()
    found = _found("closed days")
    assert found.level == "wrong"
    assert found.text == "M5_CLOSED_DAYS has WI3:12-25, but no store WI3 is in the sales; the nearest is WI_3"


def test_a_forecast_with_a_missing_file_is_detected(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lake = Lake(root=str(home / "lake"))
    with lake.staging() as staged:
        (staged / "forecast.parquet").write_text("rows")
        manifest = lake.publish("ensemble_forecast", "2016-05-16", staged, inputs={}, attributes={})
    assert _found("lake").level == "good"
    Path(lake.path(manifest.files[0].key)).unlink()
    assert "is missing or differs from its manifest" in _found("lake").text
    assert "m5 forecast --week 2016-05-16" in _found("lake").remedy


def test_a_broken_manifest_does_not_stop_the_other_checks(home: Path) -> None:
    Lake(root=str(home / "lake")).write_bytes("gbm_model/week=2016-05-16/manifest.json", b"{ half")
    names = [d.name for d in doctor.examine(settings())]
    assert {"models", "database", "daemon"} <= set(names)
    assert "gbm_model, week 2016-05-16, is not in the lake" in _found("models").text


def test_the_command_exits_with_1_and_notifies_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server([200]) as (url, bodies):
        monkeypatch.setenv("M5_ALERTS_URLS", json.dumps([url.replace("http://", "json://")]))
        settings.cache_clear()
        for _ in range(2):
            done = CliRunner().invoke(cli, ["doctor", "--notify"])
            assert done.exit_code == 1
    assert "WRONG daemon" in done.output
    assert len(bodies) == 1
    assert b"m5 doctor: daemon" in bodies[0]


def test_a_channel_that_apprise_cannot_use_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M5_ALERTS_URLS", '["json://localhost", "slack://hunter2"]')
    settings.cache_clear()
    found = _found("alerts")
    assert found.level == "wrong"
    assert found.text.startswith("slack: ")
    assert "hunter2" not in found.text
    monkeypatch.setenv("M5_ALERTS_URLS", '["json://localhost"]')
    settings.cache_clear()
    assert _found("alerts").text == "alerts go to log, json"


def test_a_home_that_cannot_be_used_is_a_finding_among_the_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "a-file"))
    gone = settings().model_copy(update={"home": tmp_path / "a-file" / "home"})
    found = {finding.name: finding for finding in doctor.examine(gone)}
    assert found["folders"].level == "wrong"
    assert {"disk", "landing", "database", "alerts", "dagster"} <= found.keys()
    assert all("\n" not in finding.text for finding in found.values())


def test_a_port_that_another_program_has_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server([404]) as (url, _):
        port = int(url.split(":")[2].split("/")[0])
        real = socket.socket.connect_ex
        monkeypatch.setattr(
            socket.socket, "connect_ex", lambda self, at: real(self, (at[0], port)) if at[1] == 3000 else 1
        )
        found = [finding for finding in doctor.examine(settings()) if finding.name == "ports"]
    assert [finding.level for finding in found] == ["note"]
    assert "port 3000 is taken" in found[0].text


def test_damaged_state_of_the_notifications_is_forgotten(home: Path) -> None:
    (home / "alerts").mkdir()
    (home / "alerts" / "doctor.json").write_text('{"log": {')
    done = CliRunner().invoke(cli, ["doctor", "--notify"])
    assert done.exit_code == 1
    assert isinstance(json.loads((home / "alerts" / "doctor.json").read_text()), dict)


def test_low_disk_space_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(settings(), Settings)
    monkeypatch.setattr(doctor, "_FREE_GB_WRONG", 1e9)
    monkeypatch.setattr(doctor, "_FREE_GB_LOW", 1e9)
    assert _found("disk").level == "wrong"
    assert "m5 housekeeping" in _found("disk").remedy


def test_a_home_that_others_can_read_is_reported(home: Path) -> None:
    home.chmod(0o755)
    [found] = [d for d in doctor.examine(settings()) if d.name == "folders" and d.level == "wrong"]
    assert "other accounts of this machine can read M5_HOME" in found.text
    assert found.remedy == f"`chmod 700 {home}`"


def test_a_superuser_in_the_url_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_home() as elsewhere:
        superuser = superuser_of(elsewhere)
        monkeypatch.setenv("M5_DATABASE_URL", superuser.url.render_as_string(hide_password=False))
        settings.cache_clear()
        found = _found("roles")
        superuser.dispose()
    assert found.level == "wrong"
    assert "logs in as the superuser root" in found.text
    assert "m5 migrate" in found.remedy
