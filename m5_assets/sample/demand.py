"""The sample's items, prices and demand: M5's behaviour in a few equations with random parameters.

Daily units of a series are negative binomial: a Poisson count whose rate is a gamma variate around

    log rate = base + weekday + season + trend + level(week) + SNAP + events + elasticity * log(price / usual price).

They are zero before the item's release, after it is discontinued and while it is out of stock. The parameters follow
M5: 6 of 10 values are zero, the median series sells 0.6 units per day, 1% of the series sell more than 11, and weekends
sell 20% more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.errors import UserError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STORES = {"CA_1": 1.15, "CA_2": 0.95, "CA_3": 1.6, "CA_4": 0.65, "TX_1": 0.85, "TX_2": 1.0, "TX_3": 0.95}
STORES |= {"WI_1": 0.9, "WI_2": 1.15, "WI_3": 0.9}
"""The stores, in the order of the files, and their relative sales."""

_SNAP_LIFT = {"CA": 0.08, "TX": 0.14, "WI": 0.24}
"""Effect of a SNAP day on food sales, as a logarithm."""

# Effects on sales, as logarithms: on food, and on everything else.
_EVENTS = {
    "SuperBowl": (0.15, -0.10),
    "Easter": (-0.20, -0.35),
    "MemorialDay": (0.10, 0.05),
    "Father's day": (-0.05, -0.05),
    "IndependenceDay": (0.05, -0.05),
    "LaborDay": (0.20, 0.15),
    "Halloween": (-0.10, -0.10),
    "Thanksgiving": (-0.50, -0.60),
    "NewYear": (-0.20, -0.15),
    "Christmas": (-8.0, -8.0),  # the stores are closed; M5 has a few stray sales
}

_CHANGES_A_WEEK, _PROMOTIONS_A_WEEK = 0.006, 0.015
_LAST_RELEASE = 8
"""Weeks before the calendar's end without releases, so that the newest sales include every item, as in M5."""

_LEVEL_SPREAD, _LEVEL_MEMORY = 0.15, 0.9
_DISPERSION = 2.0
"""Shape of the gamma variates: a count with mean m has variance m + m²/2."""


@dataclass(frozen=True)
class Department:
    """A department of M5.

    Attributes:
        name: its dept_id.
        items: number of its items among M5's 3,049.
        units: median of the items' daily units in an average store in 2011.
        spread: standard deviation of the logarithm of those units.
        price: median price, in USD.
        winter: how much more it sells in December than in June, as a logarithm.
    """

    name: str
    items: int
    units: float
    spread: float
    price: float
    winter: float

    @property
    def food(self) -> bool:
        """Whether SNAP covers its items."""
        return self.name.startswith("FOODS")


DEPARTMENTS = (
    Department("HOBBIES_1", 416, 0.38, 1.15, 4.97, 0.20),
    Department("HOBBIES_2", 149, 0.17, 0.75, 2.47, 0.20),
    Department("HOUSEHOLD_1", 532, 0.77, 1.00, 3.98, -0.05),
    Department("HOUSEHOLD_2", 515, 0.23, 0.85, 5.47, 0.05),
    Department("FOODS_1", 216, 0.70, 1.10, 2.68, 0.00),
    Department("FOODS_2", 398, 0.73, 0.95, 2.98, 0.10),
    Department("FOODS_3", 823, 0.95, 1.15, 2.50, -0.05),
)
"""The departments, in the order of the files."""


def items_by_department(items: int) -> list[int]:
    """Divide items among the departments in M5's proportions, by largest remainder, with at least one each.

    Raises:
        UserError: there are fewer items than departments.
    """
    if items < len(DEPARTMENTS):
        raise UserError(f"items is {items}; give at least {len(DEPARTMENTS)}, one per department")
    weights = np.array([department.items for department in DEPARTMENTS])
    counts, remainder = np.divmod(items * weights, weights.sum())
    counts[np.argsort(-remainder, kind="stable")[: items - counts.sum()]] += 1
    for empty in np.flatnonzero(counts == 0):
        counts[counts.argmax()] -= 1
        counts[empty] = 1
    return [int(count) for count in counts]


@dataclass(frozen=True)
class Assortment:
    """Some items of one department, with what they have in common in all stores.

    Attributes:
        department: their department.
        numbers: (n,) their numbers within the department, from 1.
        base: (n,) logarithm of their daily units in an average store.
        weeks: (n,) week of their release, counted from d_1.
        price: (n, W) their regular price each week, in USD, unrounded.
        elasticity: (n,) price elasticity of demand (change of log units per change of log price).
    """

    department: Department
    numbers: npt.NDArray[np.int64]
    base: Floats
    weeks: npt.NDArray[np.int64]
    price: Floats
    elasticity: Floats

    def names(self) -> list[str]:
        """Return the items' item_ids."""
        return [f"{self.department.name}_{number:03d}" for number in self.numbers]


def draw_assortment(
    rng: np.random.Generator, department: Department, numbers: npt.NDArray[np.int64], weeks: int
) -> Assortment:
    """Draw the items with these numbers, with their prices over `weeks` weeks."""
    n = len(numbers)
    launched_later = rng.random(n) < 0.6
    release = np.where(launched_later, (weeks - _LAST_RELEASE) * rng.random(n) ** 1.3, 0).astype(np.int64)
    changes = (rng.random((n, weeks)) < _CHANGES_A_WEEK) * rng.normal(0.03, 0.09, (n, weeks))
    start = np.log(department.price) + rng.normal(0, 0.55, n)
    return Assortment(
        department,
        numbers,
        np.log(department.units) + rng.normal(0, 0.85 * department.spread, n),
        release,
        np.exp(start[:, None] + np.cumsum(changes, axis=1)),
        np.clip(rng.normal(-1.4, 0.6, n), -3.0, -0.2),
    )


@dataclass(frozen=True)
class Span:
    """The days with sales, as a part of the calendar.

    Attributes:
        calendar: the whole calendar, as `sample_calendar` returns it.
        first: index of the first day with sales.
        stop: index after the last day with sales.
    """

    calendar: pd.DataFrame
    first: int
    stop: int

    @property
    def days(self) -> pd.DataFrame:
        """The calendar of the days with sales."""
        return self.calendar.iloc[self.first : self.stop]

    @property
    def week(self) -> npt.NDArray[np.int64]:
        """(T,) the week of each day with sales, counted from d_1, which begins a Walmart week."""
        return np.arange(self.first, self.stop) // 7


def draw_store(
    rng: np.random.Generator, assortment: Assortment, store: str, span: Span
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draw prices and sales of the items in one store.

    Returns:
        (n, W) prices in cents, 0 before the release, and (n, T) daily units.
    """
    n, weeks = assortment.price.shape
    delay = np.where(assortment.weeks > 0, rng.geometric(0.6, n) - 1, 0)
    release = np.minimum(assortment.weeks + delay, weeks - _LAST_RELEASE)
    cents = _cents(rng, assortment.price)
    discount = np.log(cents / cents[:, :1]) * assortment.elasticity[:, None]
    cents[np.arange(weeks) < release[:, None]] = 0

    rate = (
        (assortment.base + rng.normal(0, 0.5 * assortment.department.spread, n))[:, None]
        + np.log(STORES[store])
        + _common_effects(assortment.department, store, span)
        + (discount + _levels(rng, n, weeks))[:, span.week]
    )
    mean = np.exp(rate) * rng.standard_gamma(_DISPERSION, rate.shape) / _DISPERSION
    return cents, rng.poisson(np.where(_on_shelf(rng, release, span), mean, 0))


def _cents(rng: np.random.Generator, price: Floats) -> npt.NDArray[np.int64]:
    """Return (n, W) shelf prices: one item in five has two-week promotions, and all prices end in 8 cents."""
    n, weeks = price.shape
    promoted = rng.random((n, 1)) < 0.2
    starts = rng.random((n, weeks)) < _PROMOTIONS_A_WEEK
    running = promoted & (starts | np.roll(starts, 1, axis=1))
    depth = np.where(running, rng.uniform(0.1, 0.3, (n, 1)), 0)
    cents: npt.NDArray[np.int64] = np.rint(price * (1 - depth) * 10).astype(np.int64) * 10 - 2
    return np.maximum(cents, 18)


def _levels(rng: np.random.Generator, n: int, weeks: int) -> Floats:
    """Return (n, W) slow changes of the series' levels, a stationary AR(1) process by week."""
    shocks = rng.normal(0, _LEVEL_SPREAD * np.sqrt(1 - _LEVEL_MEMORY**2), (n, weeks))
    levels = np.empty((n, weeks))
    levels[:, 0] = rng.normal(0, _LEVEL_SPREAD, n)
    for week in range(1, weeks):
        levels[:, week] = _LEVEL_MEMORY * levels[:, week - 1] + shocks[:, week]
    return levels


def _common_effects(department: Department, store: str, span: Span) -> Floats:
    """Return (T,) effects on all items of the department in the store: weekday, season, trend, SNAP, events."""
    days = span.days
    dates = pd.DatetimeIndex(days["date"])
    state = store[:2]
    weekday = np.array([-0.03, -0.10, -0.12, -0.10, -0.01, 0.19, 0.19])[dates.day_of_week]
    season = department.winter / 2 * np.cos(2 * np.pi * (dates.day_of_year - 350) / 365.25)
    trend = 0.04 * np.arange(span.first, span.stop) / 365.25
    effect = weekday + season + trend
    if department.food:
        effect = effect + _SNAP_LIFT[state] * days[f"snap_{state}"]
    for name in ("event_name_1", "event_name_2"):
        effect = effect + days[name].map(lambda event: _EVENTS.get(event, (0.0, 0.0))[not department.food])
    return np.asarray(effect, np.float64)


def _on_shelf(rng: np.random.Generator, release: npt.NDArray[np.int64], span: Span) -> Bools:
    """Return (n, T) whether each item is on the shelf: released, not discontinued and not out of stock."""
    n, days = len(release), span.stop - span.first
    day = np.arange(days)
    on_shelf = span.week >= release[:, None]
    # 2% of the series are discontinued within the span; their prices stay listed, as in M5.
    end = np.where(rng.random(n) < 0.02, rng.integers(0, days, n), days)
    on_shelf &= day < end[:, None]
    # Each year, one series in three is out of stock once, for one to ten weeks.
    for year in range(-(-days // 365)):
        begins = rng.integers(0, 365, n) + 365 * year
        lasts = np.where(rng.random(n) < 1 / 3, rng.integers(7, 70, n), 0)
        on_shelf &= (day < begins[:, None]) | (day >= (begins + lasts)[:, None])
    return on_shelf
