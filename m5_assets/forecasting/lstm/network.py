"""The network: a sequence-to-sequence LSTM with attention.

    history + weekdays, SNAP ──────── encoder LSTM ─ states ─┐            (E days)
                                        │ last state         ├─ attention
    known future + weekdays, SNAP ─── decoder LSTM ─ states ─┘            (28 days)
    decoder state, attended history, identity, events ─ head ─ log residual: forecast = level x exp(residual)

The decoder is direct: it reads what is known about all 28 days and none of its own forecasts, so errors do not feed
back. Events enter only at the head, those of the day and its neighbours. In the recurrent states they would reveal the
season (a month after Easter it is May), and the network would take a season seen once for a recurring one, which costs
more accuracy than it gains.

Sources: Sutskever et al., 2014 (sequence to sequence); Vaswani et al., 2017 (attention); Jeon and Seong, 2022, third
place in the M5 competition (Tweedie deviance for sales, with the same power).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own abbreviation)
from torch import Tensor, nn

from m5_assets.forecasting.lstm.config import HEADS
from m5_assets.forecasting.lstm.data import (
    CALENDAR_CHANNELS,
    DECODER_CHANNELS,
    ENCODER_CHANNELS,
    IDENTITIES,
    STATIC_CHANNELS,
    Calendar,
    Vocabularies,
    Windows,
)
from m5_assets.forecasting.panel import HORIZON

TWEEDIE_POWER = 1.2
IDENTITY_SIZES = {"item_id": 16, "dept_id": 4, "store_id": 4}
EVENT_SIZE = 8
EVENT_REACH = 1
"""Days before and after an event that it can affect. An event occurs once a year, so further days would learn noise."""


class EventEncoder(nn.Module):
    """Encodes each day by its own events and those of the days around it."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(events + 1, EVENT_SIZE, padding_idx=0)
        self.neighbours = nn.Conv1d(EVENT_SIZE, EVENT_SIZE, 2 * EVENT_REACH + 1, padding=EVENT_REACH, bias=False)

    def forward(self, events: Tensor) -> Tensor:
        """Return (D, EVENT_SIZE) codes of the days from their (D, 4) events; zeros where none is near."""
        days = self.embedding(events).sum(dim=1)  # two events on one day add up
        table: Tensor = self.neighbours(days.T).T
        return table


class Attention(nn.Module):
    """Multi-head scaled dot-product attention from the 28 decoder states to the E encoder states."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key_value = nn.Linear(hidden, 2 * hidden, bias=False)

    def forward(self, decoded: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attended history (B, 28, hidden) and the weights (B, HEADS, 28, E), which sum to one over E."""
        query = self._heads(self.query(decoded))
        key, value = (self._heads(part) for part in self.key_value(encoded).chunk(2, dim=2))
        weights = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(dim=3)
        return (weights @ value).transpose(1, 2).flatten(2), weights

    @staticmethod
    def _heads(states: Tensor) -> Tensor:
        """Split (B, days, hidden) into (B, HEADS, days, hidden / HEADS)."""
        return states.reshape(*states.shape[:2], HEADS, -1).transpose(1, 2)


class Seq2SeqLSTM(nn.Module):
    """The network, from windows to the expected sales of the 28 days."""

    def __init__(self, hidden: int, vocabularies: Vocabularies) -> None:
        super().__init__()
        self.identities = nn.ModuleList(
            nn.Embedding(len(vocabularies[name]) + 1, IDENTITY_SIZES[name]) for name in IDENTITIES
        )
        self.events = EventEncoder(len(vocabularies["event"]))
        about = sum(IDENTITY_SIZES.values()) + STATIC_CHANNELS
        self.start = nn.Linear(about, 2 * hidden)
        self.encoder = nn.LSTM(ENCODER_CHANNELS + CALENDAR_CHANNELS, hidden, batch_first=True)
        self.decoder = nn.LSTM(DECODER_CHANNELS + CALENDAR_CHANNELS, hidden, batch_first=True)
        self.attention = Attention(hidden)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden + about + DECODER_CHANNELS + CALENDAR_CHANNELS + EVENT_SIZE, hidden),
            nn.GELU(),
            nn.Linear(hidden, 1),
        )
        for embedding in self.identities:
            nn.init.normal_(embedding.weight, std=0.05)  # type: ignore[arg-type]  # ModuleList loses the element type
        nn.init.zeros_(self.events.embedding.weight)  # an event that does not occur in training has no effect
        nn.init.zeros_(self.head[2].weight)  # type: ignore[arg-type]  # the first forecast is the level
        nn.init.zeros_(self.head[2].bias)  # type: ignore[arg-type]

    def forward(self, calendar: Calendar, windows: Windows) -> tuple[Tensor, Tensor]:
        """Return the expected sales (B, 28), daily units, not negative, and the attention weights (B, HEADS, 28, E)."""
        identity = [embed(windows.identities[:, i]) for i, embed in enumerate(self.identities)]
        about = torch.cat([*identity, windows.static], dim=1)
        days = F.embedding(windows.calendar_rows, calendar.days.flatten(0, 1))
        events = F.embedding(windows.calendar_rows[:, -HORIZON:] % calendar.days.shape[1], self.events(calendar.events))
        history = torch.cat([windows.encoder, days[:, : windows.encoder.shape[1]]], dim=2)
        future = torch.cat([windows.decoder, days[:, windows.encoder.shape[1] :]], dim=2)

        hidden, cell = self.start(about).tanh()[None].chunk(2, dim=2)
        encoded, last = self.encoder(history, (hidden.contiguous(), cell.contiguous()))
        decoded, _ = self.decoder(future, last)
        attended, weights = self.attention(decoded, encoded)
        inputs = torch.cat([decoded, attended, about[:, None].expand(-1, decoded.shape[1], -1), future, events], dim=2)
        residual = self.head(inputs)[:, :, 0].float()
        return windows.level * residual.clamp(-8, 4).exp() * windows.offered, weights


def tweedie_loss(forecast: Tensor, sales: Tensor, offered: Tensor) -> Tensor:
    """Return the mean Tweedie deviance of the offered days, up to a constant (power 1.2, between Poisson and gamma).

    d(mu) = -y mu^(1-p) / (1-p) + mu^(2-p) / (2-p). Source: Jorgensen, "The Theory of Dispersion Models", 1997.
    """
    mean = forecast.clamp(min=1e-6)
    power = TWEEDIE_POWER
    deviance = mean ** (2 - power) / (2 - power) - sales * mean ** (1 - power) / (1 - power)
    return (deviance * offered).sum() / offered.sum().clamp(min=1)
