"""`m5 ui`: Dagster's webserver and daemon on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from m5_assets.cli.instance import prepare_instance


@click.command()
@click.option("--port", default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Keep to loopback: Dagster's UI has no login.")
def ui(port: int, host: str) -> None:
    """Start Dagster's webserver and daemon."""
    prepare_instance()
    workspace = Path(__file__).parents[2] / "workspace.yaml"
    command = ["dagster", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
    os.execvp(str(Path(sys.executable).with_name("dagster")), command)  # noqa: S606  # our own command, no shell
