"""The ensemble: a weighted average of the models' forecasts, with weights fitted on past weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # importing SciPy would add half a second to every start of the code location
    from m5_assets.forecasting.hierarchy import Hierarchy

Floats = npt.NDArray[np.float64]

_STEPS = tuple(round(0.1 * step, 1) for step in range(11))
ALIGNMENTS = _STEPS
"""The alignment strengths to try (`alignment.align`)."""

PRIOR_WEEKS = 4
"""How many past weeks the prior is worth. On the real data, the best share of a single week varies around the mean with
a standard deviation of .2 (three origins). The prior is assumed to be right within .1, as precise as the mean of
(.2 / .1)^2 weeks."""

_ITEMS = 9
"""Levels above the items, whose sums follow from the store-departments'."""


@dataclass(frozen=True)
class Weights:
    """How the members are combined.

    Attributes:
        shares: each member's share, from 0 to 1, summing to 1, as `weighted_average` takes them. The first member gets
            the remainder.
        alignment: strength of the alignment to the totals, 0 (none) to 1 (full).
    """

    shares: Mapping[str, float]
    alignment: float

    @classmethod
    def of(cls, members: Sequence[str], others: Mapping[str, float], alignment: float) -> Self:
        """Return the weights of members, given the shares of all but the first."""
        return cls(_with_rest(members, others), alignment)

    @property
    def others(self) -> dict[str, float]:
        """The shares of all members but the first, which gets the remainder."""
        return dict(list(self.shares.items())[1:])


def _with_rest(members: Sequence[str], others: Mapping[str, float]) -> dict[str, float]:
    """Return the shares of all members, in order; the first gets the remainder."""
    return {members[0]: 1 - sum(others[name] for name in members[1:]), **{name: others[name] for name in members[1:]}}


def share_grid(members: Sequence[str]) -> list[dict[str, float]]:
    """Return the shares to try: multiples of a tenth for all members but the first, which gets the remainder."""
    grid = (dict(zip(members[1:], shares, strict=True)) for shares in product(_STEPS, repeat=len(members) - 1))
    return [_with_rest(members, others) for others in grid if sum(others.values()) < 1 + 1e-9]


@dataclass(frozen=True)
class PastWeek:
    """One past week to score weights on: the members' forecasts, the sales since, and WRMSSE's weights and scales.

    Attributes:
        members: (N, H) daily units per member.
        actual: (N, H) units sold.
        groups: (N,) the row of `totals` that each series belongs to.
        totals: (G, H) forecast totals of the store-departments.
        hierarchy: hierarchy of the N series.
        weights: WRMSSE weights of all its groups, as of the week's origin.
        scales: WRMSSE scales of all its groups, as of the week's origin.
    """

    members: Mapping[str, npt.NDArray[np.float32]]
    actual: npt.NDArray[np.number]
    groups: npt.NDArray[np.integer]
    totals: npt.NDArray[np.floating]
    hierarchy: Hierarchy
    weights: Floats
    scales: Floats


def weighted_average(
    forecasts: Mapping[str, npt.NDArray[np.float32]], weights: Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """Return the weighted average of forecasts of the same shape.

    Args:
        forecasts: units per model, any shape, finite and not negative.
        weights: weight per model, not negative, summing to 1.

    Raises:
        ValueError: the weights do not match the models, are negative or do not sum to 1, or a forecast is negative or
            not finite; the message names the model.
    """
    if set(weights) != set(forecasts) or min(weights.values()) < 0 or not np.isclose(sum(weights.values()), 1):
        raise ValueError(f"weights {dict(weights)} must be one per model of {sorted(forecasts)}, >= 0, and sum to 1")
    for name, units in forecasts.items():
        bad = int((~np.isfinite(units) | (units < 0)).sum())
        if bad:
            raise ValueError(f"{bad} forecasts of {name} are negative or not finite")
    average = sum(weights[name] * units.astype(np.float64) for name, units in forecasts.items())
    return np.asarray(average, np.float32)


def fit_weights(scores: Sequence[Floats], prior: Weights) -> Weights:
    """Return the weights with the lowest mean score over past weeks, shrunk towards the prior.

    The result lies between the prior and the best point of the grid: with n weeks, n / (n + `PRIOR_WEEKS`) of the way.
    This is the posterior mean under a normal prior if the weeks' best weights scatter normally around the true ones.

    Args:
        scores: the result of `score_grid` for each past week; the weeks' horizons must not overlap, as each week counts
            as an independent one.
        prior: weights to use before any week has been scored.
    """
    if not scores:
        return prior
    members, mean = list(prior.shares), np.mean(scores, axis=0)
    row, column = np.unravel_index(int(mean.argmin()), mean.shape)
    trust = len(scores) / (len(scores) + PRIOR_WEEKS)
    best = share_grid(members)[int(row)]
    shares = {name: round(trust * best[name] + (1 - trust) * share, 4) for name, share in prior.others.items()}
    if (excess := sum(shares.values()) - 1) > 0:  # by rounding, with several members
        shares[max(shares, key=lambda name: shares[name])] -= excess
    return Weights.of(members, shares, round(trust * ALIGNMENTS[column] + (1 - trust) * prior.alignment, 4))


def score_grid(past: PastWeek) -> Floats:
    """Return the WRMSSE that a week would have had with each combination of weights.

    The scores equal `wrmsse.evaluate` of `align` of `weighted_average`. Levels 1 to 9 are sums of store-departments, so
    they are blended and aligned as 70 series (for M5); only levels 10 to 12 need the items.

    Returns:
        (P, len(ALIGNMENTS)) scores, for the P points of `share_grid`.
    """
    hierarchy, offsets = past.hierarchy, past.hierarchy.offsets
    department = hierarchy.codes[_ITEMS - 1]
    first = np.unique(department, return_index=True)[1]
    to_departments = hierarchy.summing[offsets[_ITEMS - 1] : offsets[_ITEMS]]
    summed = {name: to_departments @ units.astype(np.float64) for name, units in past.members.items()}
    actual = to_departments @ past.actual.astype(np.float64)
    totals = past.totals[past.groups[first]]
    upper = hierarchy.summing[: offsets[_ITEMS]][:, first]
    items = hierarchy.summing[offsets[_ITEMS] : offsets[-2]].astype(np.float32)
    sold = past.actual.astype(np.float32)
    squared = np.empty(offsets[-1])
    grid = share_grid(list(past.members))
    scores = np.empty((len(grid), len(ALIGNMENTS)))
    for row, shares in enumerate(grid):
        sums = _blend(summed, shares)
        blend = _blend(past.members, {name: np.float32(share) for name, share in shares.items()})
        ratio = np.divide(totals, sums, out=np.zeros(sums.shape), where=sums > 0)
        for column, strength in enumerate(ALIGNMENTS):
            factor = ratio**strength
            error = blend * factor.astype(np.float32)[department] - sold
            squared[: offsets[_ITEMS]] = np.square(upper @ (sums * factor - actual)).mean(axis=1)
            squared[offsets[_ITEMS] : offsets[-2]] = np.square(items @ error).mean(axis=1)
            squared[offsets[-2] + hierarchy.codes[-1]] = np.square(error).mean(axis=1)
            scores[row, column] = _wrmsse(squared, past)
    return scores


def _blend(members: Mapping[str, npt.NDArray[Any]], shares: Mapping[str, Any]) -> npt.NDArray[Any]:
    first, *others = members
    total: npt.NDArray[Any] = shares[first] * members[first]
    for name in others:
        total += shares[name] * members[name]
    return total


def _wrmsse(squared: Floats, past: PastWeek) -> float:
    relative = np.divide(squared, past.scales, out=np.zeros(len(squared)), where=past.scales > 0)
    return float((past.weights * np.sqrt(relative)).sum())
