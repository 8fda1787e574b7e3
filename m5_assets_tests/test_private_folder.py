"""The home is private from the first command on, and an open one is reported."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from m5_assets.private_folder import is_open, private_folder


@pytest.fixture(autouse=True)
def _generous() -> object:
    """Make the umask one that opens everything."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private_and_an_existing_one_stays(tmp_path: Path) -> None:
    private_folder(tmp_path / "parent" / "home")
    assert mode(tmp_path / "parent" / "home") == 0o700
    assert mode(tmp_path / "parent") == 0o777  # the umask's: it is not ours
    (tmp_path / "parent").chmod(0o750)
    private_folder(tmp_path / "parent")
    assert mode(tmp_path / "parent") == 0o750


@pytest.mark.parametrize(
    ("bits", "opened"), [(0o700, False), (0o710, False), (0o711, True), (0o750, True), (0o755, True)]
)
def test_a_folder_is_open_if_others_can_list_it_or_pass(tmp_path: Path, bits: int, opened: bool) -> None:
    tmp_path.chmod(bits)
    assert is_open(tmp_path) is opened


def m5(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("M5_", "DAGSTER_"))} | {
        "M5_HOME": str(home)
    }
    program = str(Path(sys.executable).with_name("m5"))
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_the_sample_in_a_new_home_leaves_it_private(tmp_path: Path) -> None:
    """It is the first command of `make demo`."""
    home = tmp_path / "new" / "home"
    done = m5(home, "sample", str(home / "landing"), "--items", "7", "--weeks", "2")
    assert done.returncode == 0, done.stderr
    assert mode(home) == 0o700
    elsewhere = tmp_path / "elsewhere"
    assert m5(home, "sample", str(elsewhere), "--items", "7", "--weeks", "2").returncode == 0
    assert mode(elsewhere) == 0o777  # a folder outside is the user's own affair


def test_loading_the_definitions_creates_a_private_home(tmp_path: Path) -> None:
    """As `dagster dev` does, which runs no command of ours."""
    home = tmp_path / "home"
    environment = os.environ | {"M5_HOME": str(home)}
    subprocess.run([sys.executable, "-c", "import m5_assets.definitions"], env=environment, check=True)
    assert mode(home) == 0o700
