"""What an interrupted training leaves behind, so that the next attempt goes on from it.

Here: which training a checkpoint belongs to, and the finished boosters of a GBM. Not here: the state of the LSTM, which
knows its own (`lstm.training`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from m5_assets.forecasting.atomic_files import write_text
from m5_assets.forecasting.hyperparameters import Hyperparameters
from m5_assets.forecasting.panel import Panel


def panel_digest(panel: Panel) -> str:
    """Return a hash of what a training depends on of a panel: its sales, prices, releases and origin."""
    digest = hashlib.sha256(str(panel.origin).encode())
    for values in (panel.sales, panel.price, panel.release):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def training_digest(panels: Iterable[str], config: Hyperparameters) -> str:
    """Return a hash of what a training depends on: the digests of its panels, in their order, and its settings."""
    return hashlib.sha256(repr((list(panels), config)).encode()).hexdigest()


class FinishedBoosters:
    """The boosters of one training that are done, in LightGBM's text form; those of other trainings are not seen.

    A booster that was interrupted begins again: continued from its trees it would draw other rows than without the
    interruption, and become another model.
    """

    def __init__(self, folder: Path | None, training: str) -> None:
        self.folder = folder and folder / training[:16]

    def load(self, name: str) -> str | None:
        """Return the finished booster of this name, if there is one."""
        path = self.folder and self.folder / f"{name}.txt"
        return path.read_text() if path and path.is_file() else None

    def save(self, name: str, booster: str) -> None:
        """Keep a finished booster; the file appears whole."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / f"{name}.txt", booster)
