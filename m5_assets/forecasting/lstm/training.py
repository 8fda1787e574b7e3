"""Trains the LSTM: draws windows, optimizes, averages the last weights and writes checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m5_assets.forecasting.checkpoints import panel_digest, training_digest
from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.lstm.data import Vocabularies, WindowSource, learn_vocabularies
from m5_assets.forecasting.lstm.model import LSTMModel, Weights, computing, read_tensors, write_tensors
from m5_assets.forecasting.lstm.network import Seq2SeqLSTM, tweedie_loss
from m5_assets.forecasting.panel import HORIZON, Panel
from m5_assets.forecasting.progress import Progress

CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINTS = 20
"""Number of checkpoints and progress lines per member."""
AVERAGED = 0.15
"""Share of the steps, at the end, whose weights are averaged (Izmailov et al., 2018)."""
FINAL_RATE = 0.05
"""Final learning rate as a share of the highest; above zero, so that the averaged weights still differ."""
UNKNOWN_SHARE = 0.1
"""Share of identities hidden in training, so that the embedding for unknown words is learned."""
CLIP = 1.0


def fit(panel: Panel, config: LSTMConfig, progress: Progress, checkpoints: Path | None = None) -> LSTMModel:
    """Train on all windows that lie within the panel's known days.

    Args:
        panel: sales through the last day to train on; at least encoder_days + 28 days.
        config: the hyperparameters.
        progress: called with a line (step, loss) and the share done, 0 to 1.
        checkpoints: folder in which to write the state from time to time. A state found there from an interrupted run
            with the same hyperparameters and data is resumed, which gives the same weights. None writes nothing.

    Raises:
        ValueError: the panel is too short or has no series on sale, or the checkpoint is another training run's.
    """
    if panel.days < config.encoder_days + HORIZON:
        raise ValueError(
            f"the panel has {panel.days} days of sales, training needs encoder_days + {HORIZON} = "
            f"{config.encoder_days + HORIZON}: provide a longer history or lower encoder_days"
        )
    config = config.for_series(len(panel.series))
    with computing(config) as device:
        vocabularies = learn_vocabularies(panel)
        source = WindowSource(panel, vocabularies, config.encoder_days, device)
        training = _Training(config, vocabularies, source, _Sampler(panel, config), progress)
        state = training.run(_Checkpoint(checkpoints, panel, config))
    return LSTMModel(
        config=config,
        vocabularies=vocabularies,
        members=state.members,
        trained_through=panel.origin.date(),
        curve=state.curve,
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


class _Sampler:
    """Draws windows: a series and an origin at which the series is on sale for at least one day of the horizon."""

    def __init__(self, panel: Panel, config: LSTMConfig) -> None:
        first = np.maximum(panel.release.astype(np.int64) - (HORIZON - 1), config.encoder_days)
        self.rows = np.flatnonzero(first <= panel.days - HORIZON)
        if not len(self.rows):
            raise ValueError("no series of the panel is on sale before its origin, so there is nothing to train on")
        self.first = first
        self.last = panel.days - HORIZON
        self.config = config

    def draw(
        self, member: int, step: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return rows (B,), origins (B,) and hidden identities (B, 3); they depend on seed, member and step alone."""
        random = np.random.default_rng([self.config.seed, member, step])
        size = self.config.batch_size
        rows = self.rows[random.integers(len(self.rows), size=size)]
        origins = random.integers(self.first[rows], self.last, endpoint=True)
        return rows, origins, random.random((size, 3)) < UNKNOWN_SHARE


@dataclass
class _State:
    """Everything needed to resume training, as plain values and tensors."""

    members: list[Weights] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    step: int = 0
    network: Weights | None = None
    optimizer: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    averaged: Weights = field(default_factory=dict)


class _Checkpoint:
    """The file with the state, valid only for the same hyperparameters and data."""

    def __init__(self, folder: Path | None, panel: Panel, config: LSTMConfig) -> None:
        self.path = folder and folder / CHECKPOINT_FILE
        self.training = training_digest([panel_digest(panel)], config)

    def load(self) -> _State:
        if self.path is None or not self.path.exists():
            return _State()
        values = read_tensors(self.path)
        if values.pop("training", None) != self.training:
            raise ValueError(
                f"{self.path}: this checkpoint belongs to a run with other settings or data; empty its folder"
            )
        return _State(**values)

    def save(self, state: _State) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors({"training": self.training, **vars(state)}, self.path)


class _Training:
    """The members' training, one after the other."""

    def __init__(
        self,
        config: LSTMConfig,
        vocabularies: Vocabularies,
        source: WindowSource,
        sampler: _Sampler,
        progress: Progress,
    ) -> None:
        self.config, self.vocabularies, self.source, self.sampler = config, vocabularies, source, sampler
        self.progress = progress
        self.every = max(1, config.steps // CHECKPOINTS)

    def run(self, checkpoint: _Checkpoint) -> _State:
        state = checkpoint.load()
        self.total = self.config.steps * self.config.members
        resumed = len(state.members) * self.config.steps + state.step
        if resumed:
            self.progress(f"resuming from step {resumed:,} of {self.total:,}", resumed / self.total)
        while len(state.members) < self.config.members:
            self._member(state, checkpoint)
        return state

    def _member(self, state: _State, checkpoint: _Checkpoint) -> None:
        """Train one member from the state on, and append its averaged weights to `state.members`."""
        member = len(state.members)
        network, optimizer, scaler = self._start(state, member)
        loss = torch.zeros((), device=self.source.device)
        while state.step < self.config.steps:
            loss += self._step(network, optimizer, scaler, member, state.step)
            state.step += 1
            if state.step > (1 - AVERAGED) * self.config.steps:
                for name, weight in network.state_dict().items():
                    state.averaged[name] = state.averaged.get(name, 0) + weight
            if state.step % self.every == 0 or state.step == self.config.steps:
                self._report(state, float(loss) / ((state.step - 1) % self.every + 1))
                loss.zero_()
                state.network, state.optimizer = network.state_dict(), optimizer.state_dict()
                state.scaler = scaler.state_dict()
                if state.step < self.config.steps:
                    checkpoint.save(state)
        count = self.config.steps - int((1 - AVERAGED) * self.config.steps)
        state.members.append({name: (total / count).cpu() for name, total in state.averaged.items()})
        state.step, state.network, state.optimizer, state.scaler, state.averaged = 0, None, None, None, {}
        checkpoint.save(state)

    def _start(self, state: _State, member: int) -> tuple[Seq2SeqLSTM, torch.optim.AdamW, torch.amp.GradScaler]:
        device = self.source.device
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed * 1000 + member)
            network = Seq2SeqLSTM(self.config.hidden, self.vocabularies).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.config.learning_rate)
        # Under autocast, cuDNN computes LSTMs in half precision, where small gradients vanish unless scaled.
        scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        if state.network is not None and state.optimizer is not None and state.scaler is not None:
            network.load_state_dict(state.network)
            optimizer.load_state_dict(state.optimizer)
            scaler.load_state_dict(state.scaler)
            state.averaged = {name: weight.to(device) for name, weight in state.averaged.items()}
        return network, optimizer, scaler

    def _step(
        self,
        network: Seq2SeqLSTM,
        optimizer: torch.optim.AdamW,
        scaler: torch.amp.GradScaler,
        member: int,
        step: int,
    ) -> Tensor:
        rows, origins, hidden = (torch.from_numpy(a).to(self.source.device) for a in self.sampler.draw(member, step))
        windows = self.source.windows(rows, origins)
        windows.identities.masked_fill_(hidden, 0)
        cosine = 0.5 + 0.5 * math.cos(math.pi * step / self.config.steps)
        for group in optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)
        forecast, _ = network(self.source.calendar, windows)
        loss = tweedie_loss(forecast, self.source.targets(rows, origins), windows.offered)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # PyTorch does not annotate it
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    def _report(self, state: _State, loss: float) -> None:
        done = len(state.members) * self.config.steps + state.step
        state.curve.append((done, round(loss, 6)))
        self.progress(f"step {done:,} of {self.total:,}, loss {loss:.4f}", done / self.total)
