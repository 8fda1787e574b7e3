"""`m5 sample`: a generated data set to try the platform with."""

from __future__ import annotations

import filecmp
import tempfile
from pathlib import Path

import click

from m5_assets.errors import UserError
from m5_assets.private_folder import private_folder
from m5_assets.sample import NAMES, write_sample
from m5_assets.settings import settings


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--items", default=100, show_default=True, help="Products; each is sold in ten stores.")
@click.option("--weeks", default=60, show_default=True, help="Weeks of sales; the last one ends on d_1941.")
@click.option("--seed", default=1, show_default=True, help="Random seed.")
@click.option("--force", is_flag=True, help="Replace other data in DIRECTORY.")
def sample(directory: Path, items: int, weeks: int, seed: int, *, force: bool) -> None:
    """Write a generated data set to DIRECTORY.

    It has the files and columns of Kaggle's M5 data. Other files of the same names are not replaced without --force.
    """
    if not force and any((directory / name).exists() for name in NAMES):
        _require_same(directory, items, weeks, seed)
        return
    if directory.resolve().is_relative_to(settings().home):
        private_folder(settings().home)
    write_sample(directory, items=items, weeks=weeks, seed=seed)


def _require_same(directory: Path, items: int, weeks: int, seed: int) -> None:
    """Raise UserError unless the folder holds the data set already."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), items=items, weeks=weeks, seed=seed)
        _, other, unread = filecmp.cmpfiles(folder, directory, NAMES, shallow=False)
    if other or unread:
        raise UserError(
            f"{directory} holds other data in {', '.join(sorted(other + unread))}; give another folder, or --force to "
            "replace them"
        )
