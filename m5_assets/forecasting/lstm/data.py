"""Training and prediction windows of the LSTM, gathered from a panel when they are needed.

Here: what the network is told about a series at an origin, and nothing it could not know then. Not here: what is known
of its store-department (`departments`), what the network makes of it (`network`), and which windows are drawn
(`training`).

A window has an origin t: the days before t are its history (t is the number of days known), the days t .. t+27 its
horizon. Sales are read before t only; the calendar, prices and releases of the horizon are known in advance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own abbreviation)
from torch import Tensor

from m5_assets.forecasting.lstm.departments import PROFILE_WEEKS, TRENDS, StoreDepartments
from m5_assets.forecasting.panel import EVENT_COLUMNS, HORIZON, Panel

IDENTITIES = ("item_id", "dept_id", "store_id")
LEVEL_WEIGHTS = {14: 0.2, 28: 0.5, 91: 0.3}
"""Weight of the mean of the last so many days in a series' level (days before the release or of closure left out)."""
LEVEL_FLOOR = 0.02
"""Units a day, added to every level: a series that has not sold has a positive level too."""
ENCODER_CHANNELS = 3
DECODER_CHANNELS = 4 + len(PROFILE_WEEKS) + 1
STATIC_CHANNELS = 6 + len(TRENDS)
CALENDAR_CHANNELS = 10
_NEW_DAYS = 182
"""A series older than this counts as established: the panel's length must not show in its age."""

Vocabularies = dict[str, list[str]]
"""The known words of each of `IDENTITIES` and of "event", sorted; word i has the index i + 1, unknown words 0."""


def learn_vocabularies(panel: Panel) -> Vocabularies:
    """Return the items, departments, stores and events (names and types) of the panel's known days."""
    events = panel.calendar[list(EVENT_COLUMNS)].iloc[: panel.days].to_numpy(str)
    words = {column: np.unique(panel.series[column].to_numpy(str)).tolist() for column in IDENTITIES}
    return words | {"event": [word for word in np.unique(events).tolist() if word]}


@dataclass(frozen=True)
class Calendar:
    """The calendar as each state sees it: S states, D days.

    Attributes:
        days: (S, D, CALENDAR_CHANNELS) float: weekday (one-hot, 7), SNAP, sine and cosine of the day of the month.
            No input has the year's period: a history of little more than a year cannot tell season from growth.
        events: (D, 4) int64, the day's event names and types.
    """

    days: Tensor
    events: Tensor


@dataclass(frozen=True)
class Windows:
    """B windows: E days of history and the 28 days of the horizon.

    Attributes:
        identities: (B, 3) int64, item, department and store.
        static: (B, STATIC_CHANNELS) float: level, trends 14/28 and 28/91, price (all logarithms), age, non-zero share;
            the store-department's trends.
        encoder: (B, E, ENCODER_CHANNELS) float: log(1 + sales / level), log(price / mean price), released.
        decoder: (B, 28, DECODER_CHANNELS) float: log(price / mean price), released, and log(1 + same-weekday mean /
            level) over the last four weeks and over the whole history; the store-department's rhythm.
        calendar_rows: (B, E + 28) int64, rows of the calendar's (S * D) table.
        level: (B, 1) float, units a day, positive.
        offered: (B, 28) float, 1 where the item is released and the stores are open: elsewhere the forecast is 0.
    """

    identities: Tensor
    static: Tensor
    encoder: Tensor
    decoder: Tensor
    calendar_rows: Tensor
    level: Tensor
    offered: Tensor


class WindowSource:
    """The panel's arrays as tensors on one device, from which windows are gathered.

    Raises:
        ValueError: the panel has fewer days than the encoder reads, or a state without a SNAP column.
    """

    def __init__(self, panel: Panel, vocabularies: Vocabularies, encoder_days: int, device: torch.device) -> None:
        if panel.days < encoder_days:
            raise ValueError(
                f"the panel has {panel.days} days of sales and the encoder reads {encoder_days}: "
                "bring a longer history or train with a smaller encoder_days"
            )
        states = panel.series["state_id"].to_numpy(str)
        strange = sorted(set(states.tolist()) - set(panel.states))
        if strange:
            raise ValueError(f"the panel's calendar has no column snap_{strange[0]} for the series of {strange[0]}")
        self.encoder_days = encoder_days
        self.days = panel.days
        self.device = device
        self.sales = torch.from_numpy(np.ascontiguousarray(panel.sales)).to(device)
        self.price = torch.from_numpy(np.ascontiguousarray(panel.price)).to(device)
        self.release = torch.from_numpy(panel.release.astype(np.int64)).to(device)
        codes = [_encode(panel.series[name].to_numpy(str), vocabularies[name]) for name in IDENTITIES]
        self.identities = torch.from_numpy(np.stack(codes, axis=1)).to(device)
        self.state = torch.from_numpy(pd.Index(panel.states).get_indexer(pd.Index(states)).astype(np.int64)).to(device)
        dates = panel.calendar["date"].dt
        is_open = ~((dates.month == 12) & (dates.day == 25)).to_numpy(bool)
        self.open = torch.from_numpy(is_open).to(device)
        self.departments = StoreDepartments(panel, is_open, device)
        self.calendar = _calendar(panel, vocabularies["event"], device)

    def windows(self, rows: Tensor, origins: Tensor) -> Windows:
        """Return the windows of the series `rows` at `origins`, (B,) int64 each; encoder_days <= origin <= T."""
        past = origins[:, None] + torch.arange(-max(self.encoder_days, *LEVEL_WEIGHTS), 0, device=self.device)
        ahead = origins[:, None] + torch.arange(HORIZON, device=self.device)
        span = torch.cat([past[:, -self.encoder_days :], ahead], dim=1)
        release = self.release[rows, None]
        released = (span >= release).float()

        known = past.clamp(min=0)
        sales = self.sales[rows[:, None], known]
        counted = ((past >= 0) & (past >= release) & self.open[known]).float()
        means = {days: _mean(sales[:, -days:], counted[:, -days:]) for days in LEVEL_WEIGHTS}
        level = sum((weight * means[days] for days, weight in LEVEL_WEIGHTS.items()), torch.tensor(LEVEL_FLOOR))[
            :, None
        ]

        price = self.price[rows[:, None], span].log()
        mean_price = price.nanmean(dim=1, keepdim=True).nan_to_num()
        price = (price - mean_price).nan_to_num()

        scaled = sales[:, -self.encoder_days :] / level
        weeks = scaled.reshape(len(rows), -1, 7)
        weekday_means = torch.stack([weeks[:, -4:].mean(dim=1), weeks.mean(dim=1)], dim=2).log1p()
        encoder = torch.stack(
            [scaled.log1p(), price[:, : self.encoder_days], released[:, : self.encoder_days]],
            dim=2,
        )
        decoder = torch.cat(
            [
                torch.stack([price, released], dim=2)[:, self.encoder_days :],
                weekday_means.repeat(1, HORIZON // 7, 1),
                self.departments.rhythm(rows, ahead),
            ],
            dim=2,
        )
        floored = {days: mean + LEVEL_FLOOR for days, mean in means.items()}
        own = torch.stack(
            [
                level[:, 0].log(),
                (floored[14] / floored[28]).log(),
                (floored[28] / floored[91]).log(),
                mean_price[:, 0],
                (origins - release[:, 0]).clamp(-HORIZON, _NEW_DAYS) / _NEW_DAYS,
                _mean((sales[:, -28:] > 0).float(), counted[:, -28:]),
            ],
            dim=1,
        )
        return Windows(
            identities=self.identities[rows],
            static=torch.cat([own, self.departments.trend(rows, origins)], dim=1),
            encoder=encoder,
            decoder=decoder,
            calendar_rows=self.state[rows, None] * self.calendar.days.shape[1] + span,
            level=level,
            offered=released[:, self.encoder_days :] * self.open[ahead],
        )

    def targets(self, rows: Tensor, origins: Tensor) -> Tensor:
        """Return the sales of the windows' horizons, (B, 28) float; origin <= T - 28."""
        ahead = origins[:, None] + torch.arange(HORIZON, device=self.device)
        return self.sales[rows[:, None], ahead]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return the (B,) means of the counted days; 0 where there are none."""
    return (values * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


def _encode(words: npt.NDArray[np.str_], vocabulary: list[str]) -> npt.NDArray[np.int64]:
    return (pd.Index(vocabulary, dtype=object).get_indexer(pd.Index(words, dtype=object)) + 1).astype(np.int64)


def _calendar(panel: Panel, events: list[str], device: torch.device) -> Calendar:
    dates = panel.calendar["date"].dt
    weekday = F.one_hot(torch.from_numpy(dates.day_of_week.to_numpy(np.int64, copy=True)), 7).float()
    phase = torch.from_numpy(dates.day.to_numpy(np.float32, copy=True)) * (2 * np.pi / 31)
    snap = torch.from_numpy(panel.snap().T.astype(np.float32))
    shared = torch.cat([weekday, phase.sin()[:, None], phase.cos()[:, None]], dim=1)
    days = torch.cat([shared.expand(len(snap), -1, -1), snap[:, :, None]], dim=2)
    codes = [_encode(panel.calendar[column].to_numpy(str), events) for column in EVENT_COLUMNS]
    return Calendar(days=days.to(device), events=torch.from_numpy(np.stack(codes, axis=1)).to(device))
