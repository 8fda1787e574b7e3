"""The totals model: the mean of four different members, corrected for its level.

The ridge is refitted for every forecast, which takes a fraction of a second and uses the newest history. Training fits
the three boosters: trees on sales, and two that correct the ridge. Of those two, one learns from all training days, the
other ("recent") from the last year, so that it follows a drift that four years would average away.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from m5_assets.forecasting.atomic_files import write_text
from m5_assets.forecasting.hierarchy import Floats
from m5_assets.forecasting.panel import HORIZON
from m5_assets.forecasting.progress import Progress, phases
from m5_assets.forecasting.totals import ridge, trees
from m5_assets.forecasting.totals.config import TotalsConfig
from m5_assets.forecasting.totals.daily_totals import GROUP_COLUMNS, TotalsHistory
from m5_assets.forecasting.totals.level_correction import REHEARSAL_DAYS, correction
from m5_assets.forecasting.totals.new_groups import replace_new

logger = logging.getLogger(__name__)

EFFORTS = (26, 37, 37)
"""Relative durations of the phases of training: the past ridges, the rehearsal model, the model."""
BOOSTER_EFFORTS = (67, 25, 8)
"""Relative durations of training the three boosters."""

RIDGE, TREES, STACK, RECENT, WEEKDAY = "ridge", "trees", "stack", "recent", "weekday"
BOOSTERS = (TREES, STACK, RECENT)
DESCRIPTION = "totals.json"
MIN_HISTORY = 112
"""Fewest days to train on; with less, no past origin has 8 weeks before it and all of its 28 days known."""
MIN_LEAD = 56
"""Days of history before the first training origin."""
RECENT_DAYS = 364
"""Days before the origin that contain the training origins of the member "recent"."""
SHORT_HISTORY = 728
"""Below two years of history no season repeats: the same-weekday mean joins the members and nothing is rehearsed."""


@dataclass(frozen=True)
class TotalsModel:
    """Trained boosters and what they were trained on.

    Attributes:
        boosters: one per member of `BOOSTERS`.
        groups: (store_id, dept_id, cat_id, state_id) of the G store-departments, in the order of the history.
        config: the hyperparameters it was trained with.
        trained_through: the last day whose sales it was trained on, ISO 8601.
        level: factor on the members' mean; see `level.correction`.
    """

    boosters: dict[str, lgb.Booster]
    groups: tuple[tuple[str, ...], ...]
    config: TotalsConfig
    trained_through: str
    level: float

    def members_forecast(self, history: TotalsHistory) -> dict[str, npt.NDArray[np.float32]]:
        """Return each member's forecast, (G, 28) daily units, by member.

        Raises:
            ValueError: the history is too short, has other store-departments than the model, or ends before the
                training did.
        """
        if _groups(history) != self.groups:
            raise ValueError(
                f"the model was trained on {len(self.groups)} store-departments, other than the history's "
                f"{len(history.groups)}; train a new model for this week"
            )
        _check_length(history)
        if str(history.origin.date()) < self.trained_through:
            raise ValueError(
                f"the model was trained on sales through {self.trained_through}, after the history's end "
                f"{history.origin.date()}; use an older model"
            )
        members = {RIDGE: ridge.forecast(history)}
        members[TREES] = trees.forecast(self.boosters[TREES], history, None, self.config.threads)
        for member in (STACK, RECENT):
            members[member] = trees.forecast(self.boosters[member], history, members[RIDGE], self.config.threads)
        if history.days < SHORT_HISTORY:
            members[WEEKDAY] = same_weekday_mean(history)
        return members

    def predict(self, history: TotalsHistory) -> npt.NDArray[np.float32]:
        """Forecast each store-department for the 28 days after the history: the members' mean times the level.

        A store-department that opened in the last four weeks has a forecast of its own (`new_groups`).

        The history may end later than the training data, as the boosters learn slowly changing relations (measured for
        4 weeks); the ridge is fitted on all of it.

        Returns:
            (G, 28) daily units, not negative; zero where the store is closed.

        Raises:
            ValueError: as `members_forecast`.
        """
        members = np.stack(list(self.members_forecast(history).values()))
        return replace_new(np.asarray(members.mean(axis=0) * self.level, np.float32), history)

    def save(self, directory: Path) -> None:
        """Write the boosters in LightGBM's text format, then the description; a directory without it has no model."""
        directory.mkdir(parents=True, exist_ok=True)
        for member, booster in self.boosters.items():
            write_text(directory / f"{member}.txt", booster.model_to_string())
        description = {
            "groups": self.groups,
            "config": self.config.model_dump(),
            "trained_through": self.trained_through,
            "level": self.level,
        }
        write_text(directory / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> TotalsModel:
        """Read a model written by `save`.

        Raises:
            ValueError: the directory has no model, or one that is damaged or of another version.
        """
        path = directory / DESCRIPTION
        if not path.is_file():
            raise ValueError(f"{directory}: no model of totals here ({DESCRIPTION} is missing); train one first")
        try:
            text = json.loads(path.read_text())
            model = cls(
                {member: lgb.Booster(model_str=(directory / f"{member}.txt").read_text()) for member in BOOSTERS},
                tuple(tuple(group) for group in text["groups"]),
                TotalsConfig.from_hyperparameters(text["config"]),
                text["trained_through"],
                float(text["level"]),
            )
        except (KeyError, TypeError, ValueError, OSError, lgb.basic.LightGBMError) as problem:
            raise ValueError(f"{directory}: the model cannot be read ({problem!r}); train it again") from problem
        for member, booster in model.boosters.items():
            if tuple(booster.feature_name()) != trees.feature_names(with_ridge=member != TREES):
                raise ValueError(
                    f"{directory / member}.txt: its features are not this version's; train the model again"
                )
        return model


def fit(history: TotalsHistory, config: TotalsConfig, progress: Progress) -> TotalsModel:
    """Train the boosters on past origins.

    The same history and hyperparameters give the same model, byte for byte.

    Args:
        history: totals up to the origin, at least 112 days.
        config: the hyperparameters.
        progress: called after each step.

    Raises:
        ValueError: the history is too short to train on.
    """
    _check_length(history)
    on_ridges, on_rehearsal, on_model = phases(progress, EFFORTS)
    rehearses = history.days - REHEARSAL_DAYS >= SHORT_HISTORY
    before = history.rewind(REHEARSAL_DAYS if rehearses else 0)
    origins = np.unique(np.concatenate([training_origins(known.days, config) for known in (before, history)]))
    ridges = _past_ridges(history, origins, on_ridges)
    level = 1.0
    if rehearses:
        level = correction(history, _fit_members(before, config, ridges, level, on_rehearsal).predict)
        logger.info("level correction from the last %d days: %.4f", REHEARSAL_DAYS, level)
    return _fit_members(history, config, ridges, level, on_model)


def training_origins(days: int, config: TotalsConfig) -> npt.NDArray[np.int64]:
    """Return the past origins to train on, ascending, each as the number of days known.

    They have the weekday of the origin. For the last one, only the first week's sales are known.
    """
    first = max(MIN_LEAD, days - config.training_days)
    return np.arange(days - 7, first - 1, -config.origin_step, dtype=np.int64)[::-1]


def same_weekday_mean(history: TotalsHistory) -> npt.NDArray[np.float32]:
    """Return (G, 28) the mean over the last four same weekdays the store was open; zero where it is closed."""
    open_days = ~history.closed()
    recent = history.units[:, -HORIZON:].reshape(-1, 4, 7)
    weight = open_days[:, history.days - HORIZON : history.days].astype(np.float32).reshape(-1, 4, 7)
    mean = np.tile((recent * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1), (1, 4))
    return np.asarray(mean * open_days[:, history.days :], np.float32)


def _fit_members(
    history: TotalsHistory, config: TotalsConfig, ridges: dict[int, Floats], level: float, progress: Progress
) -> TotalsModel:
    """Train the boosters on past origins of a history, given the ridge forecasts there."""
    origins = training_origins(history.days, config)
    logger.info("training on %d past origins of %d store-departments", len(origins), len(history.groups))
    progress_of = phases(progress, BOOSTER_EFFORTS)
    past = np.stack([ridges[int(origin)] for origin in origins])
    late = origins >= history.days - RECENT_DAYS
    parameters = config.booster_parameters()
    boosters = {}
    for place, (member, rows, iterations) in enumerate(
        (
            (TREES, trees.examples(history, origins, None), config.trees_iterations),
            (STACK, trees.examples(history, origins, past), config.stack_iterations),
            (RECENT, trees.examples(history, origins[late], past[late]), config.stack_iterations),
        )
    ):
        boosters[member] = trees.train(rows, parameters, iterations, partial(progress_of[place], member))
    return TotalsModel(boosters, _groups(history), config, history.origin.date().isoformat(), level)


def _past_ridges(history: TotalsHistory, origins: npt.NDArray[np.int64], progress: Progress) -> dict[int, Floats]:
    """Return the ridge's (G, 28) forecast at each past origin, by the number of days known."""
    forecasts = {}
    for place, origin in enumerate(origins.tolist(), start=1):
        forecasts[origin] = ridge.forecast(history.rewind(history.days - origin)).astype(np.float64)
        progress(RIDGE, place / len(origins))
    return forecasts


def _check_length(history: TotalsHistory) -> None:
    if history.days < MIN_HISTORY:
        raise ValueError(f"the history of totals has {history.days} days; it needs at least {MIN_HISTORY}")


def _groups(history: TotalsHistory) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row) for row in history.groups[list(GROUP_COLUMNS)].to_numpy(str).tolist())
