"""`m5 sample`: a generated data set to try the platform with."""

from __future__ import annotations

from pathlib import Path

import click

from m5_assets.private_folder import private_folder
from m5_assets.sample import write_sample
from m5_assets.settings import settings


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--items", default=100, show_default=True, help="Products; each is sold in ten stores.")
@click.option("--weeks", default=60, show_default=True, help="Weeks of sales; the last one ends on d_1941.")
@click.option("--seed", default=1, show_default=True, help="Random seed.")
def sample(directory: Path, items: int, weeks: int, seed: int) -> None:
    """Write a generated data set to DIRECTORY.

    It has the files and columns of Kaggle's M5 data.
    """
    if directory.resolve().is_relative_to(settings().home):
        private_folder(settings().home)
    write_sample(directory, items=items, weeks=weeks, seed=seed)
