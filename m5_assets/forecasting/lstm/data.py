"""The LSTM's inputs: windows for training and prediction, built from a panel on demand.

A window has an origin t, the number of days known: the days before t are its history, the days t .. t+27 its horizon.
Sales are read only before t; the calendar, prices and releases of the horizon are known in advance.

A single series sells too little to show its store's rhythm: its own weekday means are mostly noise, and errors shared
by all series of a store-department add up at the upper levels of the hierarchy. So trends, weekday profiles and SNAP
effects are computed both for the series and for its store-department, which sells hundreds of times as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 (PyTorch's own abbreviation)
from torch import Tensor

from m5_assets.forecasting.panel import EVENT_COLUMNS, HORIZON, Panel

IDENTITIES = ("item_id", "dept_id", "store_id")
LEVEL_WEIGHTS = {14: 0.2, 28: 0.5, 91: 0.3}
"""Weights, by length in days, of the recent means that make up a series' level (without days closed or unreleased)."""
LEVEL_FLOOR = 0.02
"""Daily units added to every level, so that it is positive even for a series that has not sold yet."""
TRENDS = ((7, 28), (14, 28), (28, 91))
"""Lengths, in days, of the two means whose ratio is a trend."""
PROFILE_WEEKS = (8, 13)
SNAP_DAYS = 182
"""Days before the origin over which the effect of SNAP days is computed; about sixty of them are SNAP days."""
PRIOR_DAYS = 5
"""Days of mean sales that shrink every effect, as a handful of days says little."""
EFFECT_SCALE = 4.0
"""Effects and store-department trends are mostly below 0.25; this factor brings them to the other inputs' scale."""
ENCODER_CHANNELS = 3
DECODER_CHANNELS = 4 + 2 * (len(PROFILE_WEEKS) + 1)
STATIC_CHANNELS = 4 + 2 * len(TRENDS)
CALENDAR_CHANNELS = 10
_NEW_DAYS = 182
"""Age, in days, at which a series counts as established; a cap, so that the panel's length does not affect the age."""

IGNORED_EVENTS = "Religious"
"""Type of the events left out. They affect sales little, and a year of history has each only once, so the network would
learn the noise of those days and the effect of other events that fell next to them that year."""

Vocabularies = dict[str, list[str]]
"""The known words for each of `IDENTITIES` and for "event", sorted; word i has index i + 1, unknown words have 0."""


def learn_vocabularies(panel: Panel) -> Vocabularies:
    """Return the panel's items, departments and stores, and the events (names and types) of its known days."""
    events = _events(panel)[: panel.days]
    words = {column: np.unique(panel.series[column].to_numpy(str)).tolist() for column in IDENTITIES}
    return words | {"event": [word for word in np.unique(events).tolist() if word]}


@dataclass(frozen=True)
class Calendar:
    """The calendar of S states and D days.

    Attributes:
        days: (S, D, CALENDAR_CHANNELS) float: weekday (one-hot, 7), sine and cosine of the day of the month, SNAP.
            No input has a yearly period, as a history of little more than a year cannot tell season from growth.
        events: (D, 4) int64, codes of each day's event names and types.
    """

    days: Tensor
    events: Tensor


@dataclass(frozen=True)
class Windows:
    """B windows: E days of history and the 28 days of the horizon.

    Attributes:
        identities: (B, 3) int64, item, department and store.
        static: (B, STATIC_CHANNELS) float: logarithms of level and price, age, non-zero share; `_trends` of the series
            and of its store-department.
        encoder: (B, E, ENCODER_CHANNELS) float: log(1 + sales / level), log(price / mean price), released.
        decoder: (B, 28, DECODER_CHANNELS) float: log(price / mean price), released, log(1 + same-weekday mean /
            level) over the last four weeks and over the whole history; `_rhythm` of the series and of its
            store-department.
        calendar_rows: (B, E + 28) int64, rows of the calendar's (S * D) table.
        level: (B, 1) float, daily units, positive.
        offered: (B, 28) float, 1 where the item is released and the store is open, else 0, where the forecast is 0.
    """

    identities: Tensor
    static: Tensor
    encoder: Tensor
    decoder: Tensor
    calendar_rows: Tensor
    level: Tensor
    offered: Tensor


class WindowSource:
    """The panel's arrays as tensors on one device, from which windows are built.

    The panel should contain whole stores, because store-departments are summed over the panel's series.

    Raises:
        ValueError: the panel has fewer days than the encoder reads, or a state without a SNAP column.
    """

    def __init__(self, panel: Panel, vocabularies: Vocabularies, encoder_days: int, device: torch.device) -> None:
        if panel.days < encoder_days:
            raise ValueError(
                f"the panel has {panel.days} days of sales and the encoder reads {encoder_days}: "
                "provide a longer history or train with a smaller encoder_days"
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
        stores, place = np.unique(panel.series["store_id"].to_numpy(str), return_inverse=True)
        days = panel.calendar["date"].to_numpy().astype("datetime64[D]")
        self.store = torch.from_numpy(place.astype(np.int64)).to(device)
        self.open = torch.from_numpy(~panel.closed.of(stores, days)).to(device)
        self.snap = torch.tensor(panel.snap().T, device=device)
        department = panel.series.groupby(["store_id", "dept_id"], sort=True).ngroup().to_numpy(np.int64, copy=True)
        self.department = torch.from_numpy(department).to(device)
        sold = torch.zeros((int(department.max()) + 1, panel.days), device=device)
        self.department_sales = sold.index_add_(0, self.department, self.sales)
        self.calendar = _calendar(panel, vocabularies["event"], device)

    def windows(self, rows: Tensor, origins: Tensor) -> Windows:
        """Return the windows of series `rows` at `origins`, (B,) int64 each; encoder_days <= origin <= T."""
        past = origins[:, None] + torch.arange(-max(self.encoder_days, SNAP_DAYS), 0, device=self.device)
        ahead = origins[:, None] + torch.arange(HORIZON, device=self.device)
        span = torch.cat([past[:, -self.encoder_days :], ahead], dim=1)
        release = self.release[rows, None]
        released = (span >= release).float()

        known = past.clamp(min=0)
        sales = self.sales[rows[:, None], known]
        store = self.store[rows, None]
        shown = (past >= 0) & self.open[store, known]
        counted = (shown & (past >= release)).float()
        department_sales, shown = self.department_sales[self.department[rows, None], known], shown.float()
        state = self.state[rows, None]
        snap, snap_ahead = self.snap[state, known], self.snap[state, ahead]
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
                _rhythm(sales, counted, snap, snap_ahead),
                _rhythm(department_sales, shown, snap, snap_ahead),
            ],
            dim=2,
        )
        own = torch.stack(
            [
                level[:, 0].log(),
                mean_price[:, 0],
                (origins - release[:, 0]).clamp(-HORIZON, _NEW_DAYS) / _NEW_DAYS,
                _mean((sales[:, -28:] > 0).float(), counted[:, -28:]),
            ],
            dim=1,
        )
        return Windows(
            identities=self.identities[rows],
            static=torch.cat([own, _trends(sales, counted), EFFECT_SCALE * _trends(department_sales, shown)], dim=1),
            encoder=encoder,
            decoder=decoder,
            calendar_rows=state * self.calendar.days.shape[1] + span,
            level=level,
            offered=released[:, self.encoder_days :] * self.open[store, ahead],
        )

    def targets(self, rows: Tensor, origins: Tensor) -> Tensor:
        """Return the sales of the windows' horizons, (B, 28) float; origin <= T - 28."""
        ahead = origins[:, None] + torch.arange(HORIZON, device=self.device)
        return self.sales[rows[:, None], ahead]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return (B,) the means over the counted days; 0 where there are none."""
    return (values * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


def _trends(sales: Tensor, counted: Tensor) -> Tensor:
    """Return (B, len(TRENDS)) logarithms of a recent mean divided by a longer one, both up to the origin."""
    lengths = {days for pair in TRENDS for days in pair}
    means = {days: _mean(sales[:, -days:], counted[:, -days:]) + LEVEL_FLOOR for days in lengths}
    return torch.stack([(means[short] / means[long]).log() for short, long in TRENDS], dim=1)


def _rhythm(sales: Tensor, counted: Tensor, snap: Tensor, snap_ahead: Tensor) -> Tensor:
    """Return (B, 28, len(PROFILE_WEEKS) + 1) the effects of each day's weekday, and of its being a SNAP day or not.

    Args:
        sales: (B, P) units on the days before the origin.
        counted: (B, P) 1 where a day counts, else 0.
        snap: (B, P) SNAP days before the origin.
        snap_ahead: (B, 28) SNAP days of the horizon.
    """
    weekdays = []
    for weeks in PROFILE_WEEKS:
        by_week = (len(sales), weeks, 7)
        weekdays.append(_effect(sales[:, -7 * weeks :].reshape(by_week), counted[:, -7 * weeks :].reshape(by_week)))
    kinds = torch.stack([~snap, snap], dim=2)[:, -SNAP_DAYS:]
    by_kind = _effect(sales[:, -SNAP_DAYS:, None].expand_as(kinds), counted[:, -SNAP_DAYS:, None] * kinds)
    profile = torch.stack(weekdays, dim=2).repeat(1, HORIZON // 7, 1)
    return torch.cat([profile, by_kind.gather(1, snap_ahead.long())[:, :, None]], dim=2)


def _effect(sales: Tensor, counted: Tensor) -> Tensor:
    """Return (B, K) effects of K kinds of days: log of a kind's mean divided by the overall mean, shrunk, and scaled.

    Args:
        sales: (B, D, K) units on the days of each kind.
        counted: (B, D, K) 1 where a day counts, else 0.
    """
    sums, days = (sales * counted).sum(dim=1), counted.sum(dim=1)
    mean = (sums.sum(dim=1) / days.sum(dim=1).clamp(min=1))[:, None]
    shrunk = (sums + PRIOR_DAYS * mean) / (days + PRIOR_DAYS)
    return EFFECT_SCALE * ((shrunk + LEVEL_FLOOR) / (mean + LEVEL_FLOOR)).log()


def _encode(words: npt.NDArray[np.str_], vocabulary: list[str]) -> npt.NDArray[np.int64]:
    return (pd.Index(vocabulary, dtype=object).get_indexer(pd.Index(words, dtype=object)) + 1).astype(np.int64)


def _calendar(panel: Panel, events: list[str], device: torch.device) -> Calendar:
    dates = panel.calendar["date"].dt
    weekday = F.one_hot(torch.from_numpy(dates.day_of_week.to_numpy(np.int64, copy=True)), 7).float()
    phase = torch.from_numpy(dates.day.to_numpy(np.float32, copy=True)) * (2 * np.pi / 31)
    snap = torch.from_numpy(panel.snap().T.astype(np.float32))
    shared = torch.cat([weekday, phase.sin()[:, None], phase.cos()[:, None]], dim=1)
    days = torch.cat([shared.expand(len(snap), -1, -1), snap[:, :, None]], dim=2)
    codes = np.stack([_encode(words, events) for words in _events(panel).T], axis=1)
    return Calendar(days=days.to(device), events=torch.from_numpy(codes).to(device))


def _events(panel: Panel) -> npt.NDArray[np.str_]:
    """Return (T + 28, 4) event names and types; empty where there is none or it is ignored."""
    words = panel.calendar[list(EVENT_COLUMNS)].to_numpy(str)
    ignored = words[:, 1::2] == IGNORED_EVENTS
    return np.where(ignored.repeat(2, axis=1), "", words)
