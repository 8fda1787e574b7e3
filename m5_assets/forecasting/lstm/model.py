"""The trained LSTM: its forecasts and its file format."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from m5_assets.forecasting.atomic_files import write_text
from m5_assets.forecasting.lstm.config import LSTMConfig
from m5_assets.forecasting.lstm.data import Vocabularies, WindowSource
from m5_assets.forecasting.lstm.network import Seq2SeqLSTM
from m5_assets.forecasting.panel import HORIZON, Panel

FORMAT = 3
"""Version of the file format; increase it with any change that older code cannot read."""
WEIGHTS_FILE = "weights.pt"
DESCRIPTION_FILE = "config.json"
PREDICTION_BATCH = 2048

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class LSTMModel:
    """Trained networks and what their forecasts depend on.

    Attributes:
        config: the hyperparameters it was trained with.
        vocabularies: the words that the embeddings know.
        members: weights of each member, on the CPU.
        trained_through: the last day whose sales it was trained on.
        curve: (step, training loss) pairs of the members, one after the other.
        versions: versions of the libraries it was trained with.
    """

    config: LSTMConfig
    vocabularies: Vocabularies
    members: list[Weights]
    trained_through: date
    curve: list[tuple[int, float]]
    versions: dict[str, str]

    @property
    def parameters(self) -> int:
        """Number of weights in one member."""
        return sum(weight.numel() for weight in self.members[0].values())

    def predict(self, panel: Panel) -> npt.NDArray[np.float32]:
        """Forecast the 28 days after the panel's origin.

        Each store is forecast on its own, so the panel may contain any stores, but each with all of its series. Items,
        departments and stores that were not in the training data get the embedding for unknown words. The forecast is
        0 before the release and where the store is closed.

        Returns:
            (N, 28) daily units, not negative.

        Raises:
            ValueError: the panel has fewer days than the encoder reads, or lacks a state's SNAP days.
        """
        with computing(self.config) as device:
            source = WindowSource(panel, self.vocabularies, self.config.encoder_days, device)
            networks = [self._network(weights).to(device).eval() for weights in self.members]
            forecasts = np.zeros((len(panel.series), HORIZON), np.float32)
            for start in range(0, len(forecasts), PREDICTION_BATCH):
                rows = torch.arange(start, min(start + PREDICTION_BATCH, len(forecasts)), device=device)
                windows = source.windows(rows, torch.full_like(rows, panel.days))
                with torch.inference_mode():
                    means = [network(source.calendar, windows)[0] for network in networks]
                forecasts[start : start + len(rows)] = torch.stack(means).mean(dim=0).cpu().numpy()
        return forecasts

    def save(self, directory: Path) -> None:
        """Write `weights.pt` and `config.json`; the description comes last and vouches for the weights by SHA-256."""
        directory.mkdir(parents=True, exist_ok=True)
        digest = write_tensors({"members": self.members}, directory / WEIGHTS_FILE)
        description = {
            "format": FORMAT,
            "weights_sha256": digest,
            "trained_through": self.trained_through.isoformat(),
            "parameters": self.parameters,
            "config": self.config.model_dump(),
            "versions": self.versions,
            "curve": self.curve,
            "vocabularies": self.vocabularies,
        }
        write_text(directory / DESCRIPTION_FILE, json.dumps(description, indent=1))

    @classmethod
    def load(cls, directory: Path) -> LSTMModel:
        """Read a model written by `save`.

        Raises:
            ValueError: a file is missing, damaged, in another version's format or does not match the other; the
                message says which. Weights are read as plain tensors, so a pickle with anything else is rejected
                without being run.
        """
        path = directory / DESCRIPTION_FILE
        try:
            description = _read_description(path)
            model = cls(
                config=LSTMConfig.from_hyperparameters(description["config"]),
                vocabularies=description["vocabularies"],
                members=read_tensors(directory / WEIGHTS_FILE, description["weights_sha256"])["members"],
                trained_through=date.fromisoformat(description["trained_through"]),
                curve=[(step, loss) for step, loss in description["curve"]],
                versions=description["versions"],
            )
            for weights in model.members:
                model._network(weights)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: not a usable LSTM model: {error!s}") from error
        return model

    def _network(self, weights: Weights) -> Seq2SeqLSTM:
        network = Seq2SeqLSTM(self.config.hidden, self.vocabularies)
        network.load_state_dict(weights)
        return network


def _read_description(path: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(path.read_text())
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']}, but this version reads {FORMAT}; train again")
    return description


@contextmanager
def computing(config: LSTMConfig) -> Iterator[torch.device]:
    """Choose the device and fix the threads and algorithms that the result depends on, until the block ends.

    Raises:
        ValueError: `config.device` is "cuda" and there is no usable GPU.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("hyperparameter device='cuda': this machine has no usable GPU; choose auto or cpu")
    cuda = torch.cuda.is_available() and config.device != "cpu"
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(not cuda)  # cuDNN's recurrent kernels have no deterministic form
    # PyTorch would fill every new tensor, so that even reading uninitialized memory is deterministic: a quarter of the
    # training time.
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # set at run time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with torch.autocast("cuda", dtype=torch.float16, enabled=cuda):
            yield torch.device("cuda" if cuda else "cpu")
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]


def write_tensors(values: dict[str, Any], path: Path) -> str:
    """Write plain values and tensors to a file that appears only when complete, and return its SHA-256."""
    temporary = path.with_name(f"{path.name}.tmp")
    torch.save(values, temporary)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    temporary.replace(path)
    return digest


def read_tensors(path: Path, digest: str | None = None) -> Any:
    """Read a file written by `write_tensors` onto the CPU, and check its SHA-256 if one is given.

    Raises:
        ValueError: the SHA-256 differs, or the file is damaged or contains more than tensors and plain values.
    """
    if digest is not None and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ValueError(f"{path.name} is not the file that {DESCRIPTION_FILE} describes (SHA-256 differs)")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path.name} is damaged or contains more than tensors") from error
