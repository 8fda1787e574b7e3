"""`m5 ui`: programs that run together."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from m5_assets.cli.ui import run_together
from m5_assets.errors import UserError


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
