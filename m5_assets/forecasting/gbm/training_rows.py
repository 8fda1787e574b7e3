"""The rows that the GBM is trained on: which are drawn, and how their features are computed a store at a time.

Every training row is a series, a day and a horizon drawn from 1 to 28, with the features as of that day's origin: one
model then serves all horizons, and sees recent sales where they are known. The rows lie in the order of department,
store, series and day, so that a department's lie together; how the stores are divided into panels changes nothing.

Here: `TrainingRows`. Not here: where the features are kept (`matrix`), what is trained on them (`training`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.checkpoints import panel_digest
from m5_assets.forecasting.features import Aggregates, Context, Rows
from m5_assets.forecasting.features.base import Integers
from m5_assets.forecasting.gbm.config import GBMConfig
from m5_assets.forecasting.panel import HORIZON, Panel

MIN_HISTORY = 56
"""Days of the panel before the first training day, so that the windows hold something."""


@dataclass(frozen=True)
class TrainingRows:
    """R rows of D departments, drawn from P panels.

    Attributes:
        config: what they were drawn by.
        panels: of whole stores, in the order of their names; gone through again for the features.
        aggregates: of all their series.
        departments: D names in the order of their codes.
        stores: their names in the order of their codes.
        origin: the last day whose sales are known, ISO 8601.
        digests: of the panels, as checkpoints know them.
        rows: the rows; a series is a position in its panel.
        bounds: (D, P + 1); the rows of department d and panel p are those from bounds[d, p] to bounds[d, p + 1].
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
        """D places of the departments' rows."""
        return [slice(*ends) for ends in self.bounds[:, [0, -1]].tolist()]

    def by_panel(self) -> Iterator[tuple[Context, list[slice]]]:
        """Return the context of each panel, one at a time, and the D places of its rows.

        Raises:
            ValueError: there are not as many panels as when the rows were drawn.
        """
        found = 0
        for found, panel in enumerate(self.panels, start=1):
            ends = self.bounds[:, found - 1 : found + 1].tolist()
            yield Context.build(panel, self.aggregates), [slice(*each) for each in ends]
        if found != len(self.digests):
            raise ValueError(f"rows were drawn from {len(self.digests)} panels, of which {found} came again")

    @classmethod
    def draw(cls, panels: Iterable[Panel], config: GBMConfig) -> TrainingRows:
        """Draw rows from the last days: series on sale, not on 25 December, each with a horizon drawn from 1 to 28.

        Memory grows with the rows, of which there are `config.max_rows` at most, and with the groups of series.

        Args:
            panels: of whole stores, in the order of their names; can be gone through more than once.
            config: see `GBMConfig`.

        Raises:
            ValueError: the panels are too short to train on, of different days, or of nothing on sale.
        """
        first_pass = _FirstPass()
        aggregates = Aggregates.of(first_pass.over(panels))
        departments, stores = ([name for (name,) in aggregates.keys[level]] for level in ("dept", "store"))
        rows, bounds = first_pass.draw(departments, config)
        origin = str(first_pass.dates[first_pass.days - 1])
        digests = tuple(first_pass.digests)
        return cls(config, panels, aggregates, tuple(departments), tuple(stores), origin, digests, rows, bounds)


class _FirstPass:
    """What drawing needs of the panels, gathered while their aggregates are added up."""

    def __init__(self) -> None:
        self.days = 0
        self.dates = np.array([], "datetime64[D]")
        self.release: list[Integers] = []
        self.departments: list[npt.NDArray[np.str_]] = []
        self.digests: list[str] = []

    def over(self, panels: Iterable[Panel]) -> Iterator[Panel]:
        """Pass the panels on.

        Raises:
            ValueError: their days differ.
        """
        calendar = None
        for panel in panels:
            calendar = panel.calendar if calendar is None else calendar
            if not panel.calendar.equals(calendar):
                raise ValueError("panels of different days or calendars cannot be trained on together")
            self.days, self.dates = panel.days, panel.calendar["date"].to_numpy().astype("datetime64[D]")
            self.release.append(panel.release)
            self.departments.append(panel.series["dept_id"].to_numpy(str))
            self.digests.append(panel_digest(panel))
            yield panel

    def draw(self, departments: list[str], config: GBMConfig) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Return the rows, and the bounds, of `TrainingRows`."""
        first = max(self.days - config.training_days, MIN_HISTORY)
        if first >= self.days:
            raise ValueError(f"the panel has {self.days} days; training needs more than {MIN_HISTORY}")
        days = np.arange(first, self.days, dtype=np.int32)
        closed = np.char.endswith(np.datetime_as_string(self.dates[days], unit="D"), "12-25")
        share = min(config.sample_share, config.max_rows / (sum(map(len, self.release)) * len(days)))
        rng = np.random.default_rng(config.seed)
        series: list[list[Integers]] = [[] for _ in departments]  # by department, then by panel
        day: list[list[Integers]] = [[] for _ in departments]
        for release, names in zip(self.release, self.departments, strict=True):
            drawn = rng.random((len(release), len(days)), np.float32) < share
            drawn &= (release[:, None] <= days) & ~closed
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
