"""Tests that packages are installed only if their files have the hashes in constraints.txt."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def test_every_package_is_pinned_once_and_has_hashes() -> None:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==\S+((?: \\\n +--hash=sha256:[0-9a-f]{64})+)$", CONSTRAINTS, re.MULTILINE)
    names = Counter(re.sub(r"[-_.]+", "-", name).lower() for name, _ in pins)
    assert [name for name, number in names.items() if number > 1] == []
    assert len(pins) == sum(line[0] not in " #" for line in CONSTRAINTS.splitlines())  # no line of another form


def test_everything_the_project_requires_is_pinned() -> None:
    listed = subprocess.run(
        [sys.executable, "docker/requirements.py", "dev", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    names = {re.split(r"[^\w.-]", line)[0].lower() for line in listed}
    assert {"awscli", "dagster", "mypy", "pip", "setuptools", "torch", "zensical"} <= names
    pinned = {line.partition("==")[0] for line in CONSTRAINTS.lower().splitlines()}
    assert names - pinned == set()


def test_requirements_can_be_left_out() -> None:
    done = subprocess.run(
        [sys.executable, "docker/requirements.py", "--without", "torch"], cwd=ROOT, capture_output=True, check=True
    )
    assert b"torch" not in done.stdout
    assert b"pyarrow" in done.stdout


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Return a folder with a package, what it depends on, and a constraints file for both."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    files = [_wheel(wheels, "m5-outer", "Requires-Dist: m5-inner\n"), _wheel(wheels, "m5-inner", "")]
    pins = [f"{name}==1.0 \\\n    --hash=sha256:{_hash(path)}\n" for name, path in files]
    pip = re.findall(r"^pip==.*(?:\n +--hash.*)+\n", CONSTRAINTS, re.MULTILINE)
    (tmp_path / "constraints.txt").write_text("".join([*pip, *pins]))
    return wheels


def test_a_package_and_its_dependency_are_installed_with_their_hashes(wheels: Path) -> None:
    done = _install(wheels, "m5-outer")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (wheels.parent / "site").glob("*.py")} == {"m5_outer.py", "m5_inner.py"}


def test_a_dependency_that_was_tampered_with_is_refused(wheels: Path) -> None:
    with zipfile.ZipFile(wheels / "m5_inner-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("m5_intruder.py", "")
    done = _install(wheels, "m5-outer")
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "m5-inner==1.0" in done.stderr
    assert not (wheels.parent / "site").exists()


def test_a_package_without_a_hash_is_refused(wheels: Path) -> None:
    _wheel(wheels, "m5-unknown", "")
    done = _install(wheels, "m5-unknown")
    assert done.returncode != 0
    assert "Hashes are required in --require-hashes mode" in done.stderr or "pinned with ==" in done.stderr
    assert not (wheels.parent / "site").exists()


def _wheel(folder: Path, name: str, metadata: str) -> tuple[str, Path]:
    module = name.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    info = f"{module}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return name, path


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _install(wheels: Path, name: str) -> subprocess.CompletedProcess[str]:
    options = ["--no-index", "--find-links", str(wheels), "--target", str(wheels.parent / "site")]
    return subprocess.run(
        [ROOT / "docker/install.sh", wheels.parent / "constraints.txt", *options, name],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
