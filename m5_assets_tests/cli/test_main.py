"""Tests of the command group: it lists all commands with their own descriptions and loads fast."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from m5_assets.cli.main import COMMANDS, cli

ENTRIES = {name: entry for entries in COMMANDS.values() for name, entry in entries.items()}


def test_help_imports_no_command() -> None:
    program = (
        "import sys; from m5_assets.cli.main import cli; cli(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    text, loaded = done.stdout.rstrip().rsplit("\n", 1)
    assert all(f"\n  {name} " in text for name in ENTRIES)
    assert not {"pandas", "numpy", "dagster", "sqlalchemy", "pydantic", "m5_assets.extras"} & set(loaded.split())


@pytest.mark.parametrize("name", ENTRIES)
def test_each_command_is_found_and_described_by_the_first_line_of_its_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == ENTRIES[name].summary
    assert ENTRIES[name].module in (f"m5_assets.cli.{name}", f"m5_assets.extras.{_package(name)}.command")
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


def _package(name: str) -> str:
    return {"deploy": "deployment"}.get(name, name)


def test_an_unknown_command_is_rejected() -> None:
    done = CliRunner().invoke(cli, ["forcast"])
    assert done.exit_code == 2
    assert "No such command 'forcast'" in done.output
