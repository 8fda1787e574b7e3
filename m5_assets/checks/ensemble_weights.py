"""Checks of the ensemble's weights: between 0 and 1, and fitted only on weeks that were known in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m5_assets.assets.ensemble_weights import read_weights
from m5_assets.checks.recording import Check, Examiner, Finding, Findings, weekly_checks
from m5_assets.resources.lake import Lake
from m5_assets.weeks import Week

_FIT_AGAIN = "materialize the week's ensemble_weights again"
CHECKS = (
    Check(
        "shares",
        "The members' shares and the alignment strength lie between 0 and 1.",
        blocking=True,
        remedy=_FIT_AGAIN,
    ),
    Check(
        "learnt_from_the_past",
        "All 28 days of the weeks used in the fit end by the origin.",
        blocking=True,
        remedy=_FIT_AGAIN,
    ),
)


def shares(weights: Mapping[str, float]) -> Finding:
    """Check that every weight lies between 0 and 1."""
    text = ", ".join(f"{name} {value:.3f}" for name, value in weights.items())
    return Finding(all(0 <= value <= 1 for value in weights.values()), text, weights)


def learnt_from_the_past(week: Week, fitted_on: Sequence[Week]) -> Finding:
    """Check that all forecast days of the weeks used in the fit were known at the origin."""
    late = [past.key for past in fitted_on if past.last_forecast_day > week.origin]
    text = f"fitted on {len(fitted_on)} weeks"
    return Finding(not late, f"{text}; not all days of {', '.join(late)} were known" if late else text)


def examiner(lake: Lake) -> Examiner:
    """Return the examiner of `ensemble_weights`."""

    def examine(week: Week) -> Findings:
        weights = read_weights(lake, week)
        fitted_on = [Week.parse(key) for key in lake.get("ensemble_weights", week.key).attributes["weeks"]]
        return {
            "shares": shares({**weights.shares, "alignment": weights.alignment}),
            "learnt_from_the_past": learnt_from_the_past(week, fitted_on),
        }

    return examine


ensemble_weights_checks = weekly_checks("ensemble_weights", CHECKS, examiner)
