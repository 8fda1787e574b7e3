"""Tests of the pip settings that `make images-check` lends to its builds."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from m5_assets_tests.support.docker.pip_settings import configuration, paths, read

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return a folder with the files that pip's settings of a machine may name."""
    for folder in ("wheels", "index/simple", "index/files"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "own.txt").write_text("-c deeper/more.txt\ntorch<=2.14.1\n")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper/more.txt").write_text("six<2\n")
    (tmp_path / "ca.pem").write_text("")
    return tmp_path


def test_the_constraints_file_of_the_machine_is_lent_with_what_it_includes(machine: Path) -> None:
    for line in (
        f"global.constraint='{machine}/own.txt'",
        f":env:.constraint='{machine}/own.txt'",
        f"install.constraint='{machine}/own.txt'",
    ):
        options = read(line)
        assert options == {"constraint": [f"{machine}/own.txt"]}
        assert paths(options) == [machine / "deeper/more.txt", machine / "own.txt"]


def test_a_relative_path_is_lent_as_an_absolute_one(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine / "deeper")
    options = read(":env:.constraint='../own.txt more.txt'")
    assert options == {"constraint": [f"{machine}/own.txt", f"{machine}/deeper/more.txt"]}


def test_folders_are_lent_and_addresses_stay(machine: Path) -> None:
    options = read(
        "\n".join(
            (
                f"global.cert='{machine}/ca.pem'",
                f"global.extra-index-url='file://{machine}/index/simple\\nhttps://index.example/simple'",
                f"global.find-links='{machine}/wheels'",
                "global.cache-dir='/var/cache/pip'",
                "global.timeout='15'",
                ":env:.timeout='180'",
            )
        )
    )
    assert options["timeout"] == ["180"]
    assert "cache-dir" not in options
    assert paths(options) == [machine / "ca.pem", machine / "index", machine / "wheels"]
    parsed = configparser.RawConfigParser()
    parsed.read_string(configuration(options))
    indexes = parsed["global"]["extra-index-url"].split()
    assert indexes == [f"file://{machine}/index/simple", "https://index.example/simple"]


def test_pip_reads_the_lent_settings_as_its_own(machine: Path, tmp_path: Path) -> None:
    lent = tmp_path / "lent.conf"
    machines = {"PIP_CONFIG_FILE": os.devnull, "PIP_CONSTRAINT": f"{machine}/own.txt", "PATH": os.environ["PATH"]}
    listed = _run([sys.executable, "-m", "pip", "config", "list"], machines)
    mounts = _run([sys.executable, "-m", "m5_assets_tests.support.docker.pip_settings", str(lent)], {}, listed)
    assert f"--volume\n{machine}/own.txt:{machine}/own.txt:ro\n" in mounts
    own = {"PIP_CONFIG_FILE": str(lent), "PATH": os.environ["PATH"]}
    assert f"constraint='{machine}/own.txt'" in _run([sys.executable, "-m", "pip", "config", "list"], own)


def _run(command: list[str], variables: dict[str, str], given: str = "") -> str:
    done = subprocess.run(
        command, env=variables, input=given, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
