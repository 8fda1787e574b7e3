"""The LSTM's hyperparameters. Not here: sizes that nobody tunes (`network`, `data`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m5_assets.forecasting.hyperparameters import Hyperparameters

FEWEST_WINDOWS = 20_000
WINDOWS_A_SERIES = 60
HEADS = 4
"""Attention heads; the hidden size is a multiple of it."""


class LSTMConfig(Hyperparameters):
    """What training depends on, besides the panel."""

    seed: int = Field(1, ge=0, description="seed of the initial weights and of the order of the windows")
    members: int = Field(
        3,
        ge=1,
        description="networks trained one after the other, each with its own seed; their forecasts are averaged",
    )
    windows: int = Field(
        100_000, ge=1, description="training windows each member sees; fewer when the panel has few series"
    )
    batch_size: int = Field(256, ge=1, description="windows per step")
    hidden: int = Field(64, ge=HEADS, multiple_of=HEADS, description="units of the encoder and of the decoder")
    encoder_days: int = Field(42, ge=28, multiple_of=7, description="days of history the encoder reads, whole weeks")
    learning_rate: float = Field(3e-3, gt=0, description="highest learning rate of AdamW; it falls along a cosine")
    threads: int = Field(
        1, ge=1, description="CPU threads; more help on idle cores only, and change the last digits of the result"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one")

    @property
    def steps(self) -> int:
        """Optimiser steps of each member."""
        return -(-self.windows // self.batch_size)

    def for_series(self, count: int) -> LSTMConfig:
        """Return the hyperparameters for a panel of `count` series: fewer series need fewer windows."""
        return self.model_copy(update={"windows": min(self.windows, max(FEWEST_WINDOWS, WINDOWS_A_SERIES * count))})
