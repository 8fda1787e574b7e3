"""Draws the GBM's training rows, whose features are then computed one store at a time.

A training row is a series, a day and a random horizon from 1 to 28, with the features as of that day's origin. One
model thus serves all horizons and sees recent sales where they are known. Rows are ordered by department, store, series
and day, so a department's rows are contiguous, and how the stores are divided into panels makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.checkpoints import panel_digest
from m5_assets.forecasting.closed_days import ClosedDays
from m5_assets.forecasting.features import Aggregates, Context, Rows
from m5_assets.forecasting.features.base import Integers
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.panel import HORIZON, Panel

MIN_HISTORY = 56
"""Days in the panel before the first training day, so that rolling windows are not empty."""


@dataclass(frozen=True)
class TrainingRows:
    """R rows of D departments, drawn from P panels.

    Attributes:
        config: the hyperparameters that they were drawn with.
        panels: panels of whole stores, in the order of their names; iterated again to compute the features.
        aggregates: aggregates of all their series.
        departments: D names, in the order of their codes.
        stores: names of the stores, in the order of their codes.
        origin: the last day whose sales are known, ISO 8601.
        digests: digests of the panels, for checkpoints (`checkpoints.panel_digest`).
        rows: the rows; a series is a position in its panel.
        bounds: (D, P + 1) row numbers; department d and panel p have the rows bounds[d, p] to bounds[d, p + 1] - 1.
    """

    config: GBMConfig
    panels: Iterable[Panel]
    aggregates: Aggregates
    departments: tuple[str, ...]
    stores: tuple[str, ...]
    origin: str
    digests: tuple[str, ...]
    rows: Rows
    bounds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def of_departments(self) -> list[slice]:
        """The slice of each of the D departments."""
        return [slice(*ends) for ends in self.bounds[:, [0, -1]].tolist()]

    def by_panel(self) -> Iterator[tuple[Context, list[slice]]]:
        """Yield the context of each panel and the slices of its rows, one per department.

        Raises:
            ValueError: the number of panels is not the same as when the rows were drawn.
        """
        found = 0
        for found, panel in enumerate(self.panels, start=1):
            ends = self.bounds[:, found - 1 : found + 1].tolist()
            yield Context.build(panel, self.aggregates), [slice(*each) for each in ends]
        if found != len(self.digests):
            raise ValueError(f"rows were drawn from {len(self.digests)} panels, but only {found} could be read again")

    @classmethod
    def draw(cls, panels: Iterable[Panel], config: GBMConfig) -> TrainingRows:
        """Draw rows of series on sale and stores open on the last days, each with a random horizon from 1 to 28.

        Memory grows with the number of rows (at most `config.max_rows`) and of groups of series.

        Args:
            panels: panels of whole stores, in the order of their names; must be iterable more than once.
            config: the hyperparameters.

        Raises:
            ValueError: the panels are too short to train on, cover different days, or have nothing on sale.
        """
        first_pass = _FirstPass()
        aggregates = Aggregates.of(first_pass.over(panels))
        departments, stores = ([name for (name,) in aggregates.keys[level]] for level in ("dept", "store"))
        rows, bounds = first_pass.draw(departments, config)
        origin = str(first_pass.dates[first_pass.days - 1])
        digests = tuple(first_pass.digests)
        return cls(config, panels, aggregates, tuple(departments), tuple(stores), origin, digests, rows, bounds)


class _FirstPass:
    """What drawing needs to know about the panels, collected while their aggregates are added up."""

    def __init__(self) -> None:
        self.days = 0
        self.dates = np.array([], "datetime64[D]")
        self.release: list[Integers] = []
        self.departments: list[npt.NDArray[np.str_]] = []
        self.stores: list[npt.NDArray[np.str_]] = []
        self.closed: list[ClosedDays] = []
        self.digests: list[str] = []

    def over(self, panels: Iterable[Panel]) -> Iterator[Panel]:
        """Yield the panels unchanged.

        Raises:
            ValueError: their days or calendars differ.
        """
        calendar = None
        for panel in panels:
            calendar = panel.calendar if calendar is None else calendar
            if not panel.calendar.equals(calendar):
                raise ValueError("panels of different days or calendars cannot be trained on together")
            self.days, self.dates = panel.days, panel.calendar["date"].to_numpy().astype("datetime64[D]")
            self.release.append(panel.release)
            self.departments.append(panel.series["dept_id"].to_numpy(str))
            self.stores.append(panel.series["store_id"].to_numpy(str))
            self.closed.append(panel.closed)
            self.digests.append(panel_digest(panel))
            yield panel

    def draw(self, departments: list[str], config: GBMConfig) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Return the `rows` and `bounds` of `TrainingRows`."""
        first = max(self.days - config.training_days, MIN_HISTORY)
        if first >= self.days:
            raise ValueError(f"the panel has {self.days} days; training needs more than {MIN_HISTORY}")
        days = np.arange(first, self.days, dtype=np.int32)
        share = min(config.sample_share, config.max_rows / (sum(map(len, self.release)) * len(days)))
        rng = np.random.default_rng(config.seed)
        series: list[list[Integers]] = [[] for _ in departments]  # by department, then by panel
        day: list[list[Integers]] = [[] for _ in departments]
        each = zip(self.release, self.departments, self.stores, self.closed, strict=True)
        for release, names, stores, closed in each:
            drawn = rng.random((len(release), len(days)), np.float32) < share
            drawn &= (release[:, None] <= days) & ~closed.of(stores, self.dates[days])
            for department, name in enumerate(departments):
                own = np.flatnonzero(names == name).astype(np.int32)
                place, column = np.nonzero(drawn[own])
                series[department].append(own[place])
                day[department].append(days[column])
        ends = np.cumsum([[*map(len, parts)] for parts in series]).reshape(len(departments), -1)
        bounds = np.column_stack([np.append(0, ends[:-1, -1]), ends])
        if not bounds[-1, -1]:
            raise ValueError("no series was on sale on the training days")
        horizon = rng.integers(1, HORIZON + 1, bounds[-1, -1], dtype=np.int32)
        return Rows(np.concatenate([*chain(*series)]), np.concatenate([*chain(*day)]), horizon), bounds
