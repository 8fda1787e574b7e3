"""Checkpoints of an interrupted training run, from which the next attempt resumes.

Not here: the LSTM's own state (`lstm.training`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from m5_assets.forecasting.atomic_files import write_text
from m5_assets.forecasting.file_names import file_name
from m5_assets.forecasting.hyperparameters import Hyperparameters
from m5_assets.forecasting.panel import Panel


def panel_digest(panel: Panel) -> str:
    """Return a hash of everything in a panel that training depends on: sales, prices, releases, origin, closed days."""
    digest = hashlib.sha256(str(panel.origin).encode())
    for values in (panel.sales, panel.price, panel.release):
        digest.update(np.ascontiguousarray(values).data)
    digest.update(panel.closed.text())
    return digest.hexdigest()


def training_digest(panels: Iterable[str], config: Hyperparameters) -> str:
    """Return a hash of everything a training run depends on: its panels' digests, in order, and its hyperparameters."""
    return hashlib.sha256(repr((list(panels), config)).encode()).hexdigest()


class FinishedBoosters:
    """The finished boosters of one training run, in LightGBM's text format; those of other runs are ignored.

    An interrupted booster starts over: continued from its existing trees, it would sample different rows and become a
    different model.
    """

    def __init__(self, folder: Path | None, training: str) -> None:
        self.folder = folder and folder / training[:16]

    def load(self, name: str) -> str | None:
        """Return the finished booster with this name, or None."""
        path = self.folder and self.folder / f"{file_name(name)}.txt"
        return path.read_text() if path and path.is_file() else None

    def save(self, name: str, booster: str) -> None:
        """Store a finished booster; does nothing without a folder."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / f"{file_name(name)}.txt", booster)
