"""The settings of the LSTM: their names, defaults and limits.

Not here: the sizes that nobody tunes (`network`, `data`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from m5_assets.forecasting.hyperparameters import FromHyperparameters

FEWEST_WINDOWS = 20_000
WINDOWS_A_SERIES = 60
HEADS = 4
"""Attention heads; the hidden size is a multiple of it."""


@dataclass(frozen=True)
class LSTMConfig(FromHyperparameters):
    """Settings of one training.

    Attributes:
        seed: Seed of the first weights and of the order of the windows.
        members: Networks trained one after the other, each with its own seed; their forecasts are averaged.
        windows: Training windows each member sees; fewer when the panel has few series.
        batch_size: Windows a step.
        hidden: Units of the encoder and of the decoder; a multiple of 4.
        encoder_days: Days of history that the encoder reads; whole weeks, at least 4.
        learning_rate: Highest learning rate of AdamW; it falls along a cosine.
        threads: CPU threads. The result depends on their number in its last digits. More than one pays on idle
            cores only: beside another job the threads wait for each other.
        device: "cpu", "cuda", or "auto" (a GPU where there is one).
    """

    seed: int = 1
    members: int = 3
    windows: int = 100_000
    batch_size: int = 256
    hidden: int = 64
    encoder_days: int = 42
    learning_rate: float = 3e-3
    threads: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("members", "windows", "batch_size", "hidden", "encoder_days", "learning_rate", "threads"):
            if not getattr(self, name) > 0:
                raise ValueError(f"hyperparameter {name}={getattr(self, name)}: it must be above 0")
        if self.seed < 0:
            raise ValueError(f"hyperparameter seed={self.seed}: it must not be negative")
        if self.hidden % HEADS:
            raise ValueError(f"hyperparameter hidden={self.hidden}: it must be a multiple of {HEADS}")
        if self.encoder_days % 7 or self.encoder_days < 28:
            raise ValueError(
                f"hyperparameter encoder_days={self.encoder_days}: it must be whole weeks, at least 28 days"
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"hyperparameter device={self.device!r}: choose auto, cpu or cuda")

    @property
    def steps(self) -> int:
        """Optimiser steps of each member."""
        return -(-self.windows // self.batch_size)

    def for_series(self, count: int) -> LSTMConfig:
        """Return the settings for a panel of so many series: few series are learnt from fewer windows."""
        return replace(self, windows=min(self.windows, max(FEWEST_WINDOWS, WINDOWS_A_SERIES * count)))
