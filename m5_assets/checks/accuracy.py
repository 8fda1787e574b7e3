"""Checks of a scored week: valid numbers, better than the seasonal naive, no worse than the best member.

None of them blocks: a bad score is only known after four weeks, and the tables must show it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from m5_assets.assets.accuracy import BENCHMARK
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.model_specs import ENSEMBLE, MEMBER_NAMES
from m5_assets.readers.accuracy_tables import read_accuracy
from m5_assets.resources.lake import Lake
from m5_assets.resources.limits import CheckLimits
from m5_assets.settings import Limit
from m5_assets.weeks import Week

_LEVELS = range(13)
CHECKS = (
    Check("levels_complete", "Every model has a score at each of the twelve levels, finite and not negative."),
    Check("better_than_seasonal_naive", "The forecast's WRMSSE is lower than that of repeating the last seven days."),
    Check(
        "ensemble_not_worse",
        "Over the last scored weeks, the forecast is no worse than its best member.",
        limits=("ensemble_tolerance",),
    ),
)


def levels_complete(frame: pd.DataFrame) -> Finding:
    """Check that each model has valid scores at levels 0 to 12 over the whole horizon."""
    whole = frame[frame["horizon_week"] == 0]
    models = sorted(set(whole["model"]))
    levels = whole.groupby("model")["level"].agg(set)
    problems = [f"{model} lacks {len(lacking)} levels" for model in models if (lacking := {*_LEVELS} - levels[model])]
    problems += [f"no scores of {model}" for model in (ENSEMBLE, BENCHMARK) if model not in models]
    scores = whole["wrmsse"].to_numpy(float)
    wrong = int((~(np.isfinite(scores) & (scores >= 0))).sum())
    problems += [f"{wrong} scores are negative or not finite"] if wrong else []
    return Finding(not problems, "; ".join(problems) or f"{len(models)} models at twelve levels")


def overall(frame: pd.DataFrame) -> dict[str, float]:
    """Return each model's WRMSSE over the whole horizon."""
    rows = frame[(frame["horizon_week"] == 0) & (frame["level"] == 0)]
    return {str(model): float(score) for model, score in zip(rows["model"], rows["wrmsse"], strict=True)}


def better_than_benchmark(scores: dict[str, float]) -> Finding:
    """Check that the forecast beats repeating the last seven days."""
    final, naive = scores.get(ENSEMBLE, np.nan), scores.get(BENCHMARK, np.nan)
    text = f"WRMSSE {final:.4f}, seasonal naive {naive:.4f}"
    return Finding(final < naive, text, {"wrmsse": final, "wrmsse_seasonal_naive": naive})


def ensemble_not_worse(weeks: Sequence[dict[str, float]], tolerance: Limit) -> Finding:
    """Check that the forecast's mean WRMSSE is at most that of its best member, plus a tolerance.

    Args:
        weeks: WRMSSE by model, for each scored week.
        tolerance: relative excess that passes.
    """
    means = {model: float(np.mean([week[model] for week in weeks])) for model in (ENSEMBLE, *MEMBER_NAMES)}
    best = min(MEMBER_NAMES, key=lambda member: means[member])
    text = f"over {len(weeks)} scored weeks: {means[ENSEMBLE]:.4f}; its best member, {best}: {means[best]:.4f}"
    passed = means[ENSEMBLE] <= means[best] * (1 + tolerance.value)
    return Finding(
        passed, f"{text}; up to {tolerance.value:.0%} worse passes ({tolerance})", {"weeks": len(weeks), **means}
    )


def examiner(lake: Lake, limits: CheckLimits) -> Examiner:
    """Return the examiner of `forecast_accuracy`."""

    def examine(week: Week) -> Findings:
        frame = read_accuracy(lake, week)
        matured = [key for key in lake.partitions("forecast_accuracy") if key <= week.key][-limits.accuracy_weeks :]
        complete = levels_complete(frame)
        if not complete.passed:
            return {"levels_complete": complete}
        return {
            "levels_complete": complete,
            "better_than_seasonal_naive": better_than_benchmark(overall(frame)),
            "ensemble_not_worse": ensemble_not_worse(
                [overall(read_accuracy(lake, Week.parse(key))) for key in reversed(matured)],
                limits.limit("ensemble_tolerance"),
            ),
        }

    return examine


forecast_accuracy_checks = weekly_checks("forecast_accuracy", CHECKS, examiner, ("lake", "limits"))
