"""`m5 ui`: programs that run together, on a port and a home of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from m5_assets.cli.instance import of_another_clone, only_ui, running_ui
from m5_assets.cli.ui import run_together
from m5_assets.clone import CLONE
from m5_assets.errors import UserError
from m5_assets.settings import settings
from m5_assets.web.listening import listen


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("M5_HOME", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    settings.cache_clear()


def test_when_one_program_ends_the_other_is_stopped(tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    waits = "import pathlib, signal, sys, time\n" + (
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(stopped)!r}).touch(), sys.exit()))\n"
        f"pathlib.Path({str(tmp_path / 'waits')!r}).touch()\ntime.sleep(60)"
    )
    ends = (
        f"import pathlib, sys, time\nwhile not pathlib.Path({str(tmp_path / 'waits')!r}).exists(): time.sleep(.01)\n"
        "sys.exit(3)"
    )
    with pytest.raises(UserError, match="the webserver ended with exit status 3"):
        run_together({"webserver": [sys.executable, "-c", ends], "daemon": [sys.executable, "-c", waits]})
    assert stopped.exists()


def test_a_signal_to_m5_ui_stops_both(tmp_path: Path) -> None:
    started = [tmp_path / name for name in "ab"]
    program = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
    commands = {path.name: [sys.executable, "-c", program, str(path)] for path in started}
    code = (
        "import contextlib\nfrom m5_assets.cli import ui\nui.stop_on_signals()\n"
        f"with contextlib.suppress(KeyboardInterrupt): ui.run_together({commands!r})"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as both:
        deadline = time.monotonic() + 60
        while not all(path.exists() for path in started) and time.monotonic() < deadline:
            time.sleep(0.05)
        both.terminate()
        assert both.wait(30) == 0


@pytest.mark.parametrize("command", ["ui", "dashboard"])
def test_a_taken_port_ends_the_command_at_once_in_one_line(command: str, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        environment = os.environ | {"M5_HOME": str(tmp_path)}
        program = [str(Path(sys.executable).with_name("m5")), command, "--port", str(port)]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: port {port} of 127.0.0.1 is taken by another program: ")
    assert not [*tmp_path.rglob("*.db")]  # no daemon has begun


def test_a_second_ui_on_the_same_home_is_refused_until_the_first_ends(home: Path) -> None:
    program = (
        "import pathlib, sys, time; from m5_assets.cli.instance import only_ui\n"
        "with only_ui(3000): pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(home / "runs")]) as first:
        try:
            deadline = time.monotonic() + 300
            while not (home / "runs").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert running_ui() == f"process {first.pid}, port 3000, {CLONE}"
            with pytest.raises(UserError, match=rf"already runs on M5_HOME={home} \(process {first.pid}, port 3000"):
                only_ui(3001).__enter__()
        finally:
            first.kill()
    assert running_ui() == ""
    with only_ui(3001):
        assert "port 3001" in running_ui()


def test_a_home_of_another_clone_is_named_with_the_remedy(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tmp_path_factory.mktemp("clone")
    (home / "dagster").mkdir()
    link = home / "dagster" / "dagster.yaml"
    link.symlink_to(clone / "dagster.yaml")
    assert of_another_clone() is None  # that clone has moved or is gone
    (clone / "dagster.yaml").touch()
    with pytest.raises(UserError, match=f"M5_HOME {home} belongs to the clone {clone}: .* remove {link}"):
        only_ui(3000).__enter__()
    link.unlink()
    link.symlink_to(CLONE / "dagster.yaml")
    assert of_another_clone() is None
