"""`m5 ui`: Dagster's webserver and daemon on this machine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import click
import dagster as dg
import yaml

from m5_assets.cli.instance import only_ui, prepare_instance
from m5_assets.cli.parameters import PORT
from m5_assets.clone import CLONE
from m5_assets.dagster_internals import ProxyServerManager, WorkspaceFileTarget
from m5_assets.errors import UserError
from m5_assets.web.listening import listen

_WORKSPACE = CLONE / "workspace.yaml"
_STOP_SECONDS = 60


@click.command()
@click.option("--port", type=PORT, default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Keep to loopback: Dagster's UI has no login.")
def ui(port: int, host: str) -> None:
    """Start Dagster's webserver and daemon.

    Like `dagster dev`, with the webserver guarded against other web pages.
    """
    stop_on_signals()
    listen(host, port).close()  # before the daemon and the code server start
    programs, address = Path(sys.executable).parent, ["--host", host, "--port", str(port)]
    with contextlib.suppress(KeyboardInterrupt), only_ui(port):
        prepare_instance()
        with _code_servers() as workspace:
            run_together(
                {
                    "webserver": [str(programs / "m5"), "webserver", *address, "--workspace", workspace],
                    "daemon": [str(programs / "dagster-daemon"), "run", "--workspace", workspace],
                }
            )


def stop_on_signals() -> None:
    """Let SIGTERM and, unless it is ignored (nohup), a hangup end this process like Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _code_servers() -> Iterator[str]:
    """Start a code server that webserver and daemon share, and yield the workspace.yaml that names it."""
    with (
        dg.DagsterInstance.get() as instance,
        ProxyServerManager(instance, WorkspaceFileTarget(paths=[str(_WORKSPACE)]), "warning") as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        workspace = Path(folder) / "workspace.yaml"
        workspace.write_text(yaml.dump({"load_from": servers.get_code_server_specs()}))
        yield str(workspace)


def run_together(commands: Mapping[str, Sequence[str]]) -> None:
    """Run programs until one ends, then stop the others.

    Raises:
        UserError: when one ended by itself.
    """
    # In process groups of their own, so that a Ctrl-C reaches them once, through us.
    running = {name: subprocess.Popen(command, process_group=0) for name, command in commands.items()}
    try:
        while not (ended := [name for name, program in running.items() if program.poll() is not None]):
            time.sleep(0.5)
    finally:
        for program in running.values():
            program.terminate()
        for program in running.values():
            try:
                program.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
    raise UserError(f"the {ended[0]} ended with exit status {running[ended[0]].returncode}; its messages are above")
