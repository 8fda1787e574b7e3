"""The days on which stores are closed, past and ahead: learned from their daily sales, corrected by two settings.

A store is closed on a date that comes back every year if, each time it came, the store sold next to nothing. Such a
date is a day of the month, an event of the calendar, or a day around Easter.

Not here: stores that close every week, or for months.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from m5_assets.forecasting import holidays

SHARE = 0.02
"""Largest share of its usual day that a closed store sells. Walmart's stores sell up to 0.3% on 25 December (staff, or
orders picked up); on their worst day otherwise, in a flood, 4%, and on the worst open holiday 36%."""
ENOUGH = 20.0
"""Units that a store usually sells on the days it was closed; with fewer, a day without a sale may be chance. For an
event of the calendar half of it is enough: there are a tenth as many events as days, and shops do close on some."""
LONGEST = 4
"""Days in a row that a holiday may close a store, as from 24 to 27 December. A longer closure that was seen in one year
only is taken for a strike or a refurbishment, which does not come back."""
WEEKS = 4
"""Weeks before and after a day whose same weekdays say what the store usually sells."""
EASTER_DAYS = (-2, 0, 1, 39, 49, 50, 60)
"""Days from Easter to the public holidays that move with it, from Good Friday to Corpus Christi."""
LONGEST_SETTING = 256
"""Characters of a setting: SageMaker passes it to the job as one argument, which has this limit."""

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class YearlyDate:
    """A day of the year of one store, or of all.

    Attributes:
        month_day: MM-DD.
        store: the store's name; empty for all stores.
    """

    month_day: str
    store: str = ""

    def __str__(self) -> str:
        return f"{self.store}:{self.month_day}" if self.store else self.month_day

    @classmethod
    def parse(cls, text: str) -> tuple[YearlyDate, ...]:
        """Return the dates in a list such as `12-25,CA_1:01-01`.

        Raises:
            ValueError: an entry is not a date, or the text is too long.
        """
        if len(text) > LONGEST_SETTING:
            raise ValueError(f"has {len(text)} characters; at most {LONGEST_SETTING} are possible")
        found = []
        for entry in filter(None, map(str.strip, text.split(","))):
            store, _, month_day = entry.rpartition(":")
            try:
                day = dt.datetime.strptime(f"2000-{month_day.strip()}", "%Y-%m-%d")
            except ValueError:
                raise ValueError(f"{entry!r} is not a day of the year such as 12-25 or CA_1:12-25") from None
            found.append(cls(f"{day:%m-%d}", store.strip()))
        return tuple(found)


@dataclass(frozen=True)
class Given:
    """What a retailer says about its closed days; it overrides what the past says about the days ahead.

    An entry that names a store overrides one for all stores.

    Attributes:
        closed: dates on which stores close.
        open: dates on which stores open, although they were closed on them so far.
    """

    closed: tuple[YearlyDate, ...] = ()
    open: tuple[YearlyDate, ...] = ()

    @classmethod
    def parse(cls, closed: str, opened: str) -> Given:
        """Return what two lists say, each as in `YearlyDate.parse`.

        Raises:
            ValueError: as there, or a date is in both lists.
        """
        given = cls(YearlyDate.parse(closed), YearlyDate.parse(opened))
        both = [str(date) for date in given.closed if date in given.open]
        if both:
            raise ValueError(f"{both[0]} is both closed and open")
        return given


@dataclass(frozen=True)
class ClosedDays:
    """The days on which stores are closed.

    Attributes:
        dates: the days of each store, in order; a store that is never closed may be absent.
    """

    dates: Mapping[str, tuple[dt.date, ...]] = field(default_factory=dict)

    def of(self, stores: Sequence[str] | npt.NDArray[np.str_], days: npt.NDArray[np.datetime64]) -> Flags:
        """Return (N, D) whether each of N stores, which may repeat, is closed on each of D days."""
        names, place = np.unique(np.asarray(stores, str), return_inverse=True)
        known = [np.array(self.dates.get(name, ()), "datetime64[D]") for name in names.tolist()]
        flags = np.array([np.isin(days.astype("datetime64[D]"), dates) for dates in known], bool)
        return flags.reshape(len(names), len(days))[place]

    def only(self, stores: Iterable[str]) -> ClosedDays:
        """Return the closed days of these stores."""
        return ClosedDays({store: self.dates[store] for store in sorted(set(stores)) if self.dates.get(store)})

    def after(self, day: dt.date) -> dict[str, int]:
        """Return the closed days after a day, ISO 8601, and the number of stores closed on each."""
        ahead = sorted(date for dates in self.dates.values() for date in dates if date > day)
        return {date.isoformat(): ahead.count(date) for date in dict.fromkeys(ahead)}

    def text(self) -> bytes:
        """Return the closed days as JSON."""
        return json.dumps({store: [day.isoformat() for day in self.dates[store]] for store in self.dates}).encode()

    @classmethod
    def of_text(cls, text: bytes) -> ClosedDays:
        """Parse the JSON of `text`."""
        return cls({store: tuple(map(dt.date.fromisoformat, days)) for store, days in json.loads(text).items()})

    @classmethod
    def join(cls, parts: Iterable[ClosedDays]) -> ClosedDays:
        """Return the closed days of several sets of stores."""
        return cls({store: dates for part in parts for store, dates in part.dates.items()})


def learn(
    stores: npt.NDArray[np.str_], units: npt.NDArray[np.number], calendar: pd.DataFrame, given: Given | None = None
) -> ClosedDays:
    """Return the closed days of the known days and of the days after them.

    A past day counts as closed if its date is one of the store's yearly closed dates and the store had sold before. All
    sales are used, so the past is known in hindsight; the days ahead are judged by what was known at the origin.

    Args:
        stores: (N,) the store of each series.
        units: (N, T) daily units up to the origin.
        calendar: the T days and those ahead, with `date`, `event_name_1` and `event_name_2`.
        given: what the retailer says.
    """
    names, place = np.unique(stores, return_inverse=True)
    sums = np.zeros((len(names), units.shape[1]))
    np.add.at(sums, place, units)
    days = calendar["date"].to_numpy().astype("datetime64[D]")
    past = _Past.of(sums)
    closed = np.zeros((len(names), len(days)), bool)
    for date in _yearly_dates(calendar, days):
        closed[:, date.days] |= past.always_closed(date)[:, None]
    _apply(given or Given(), names.tolist(), days, past, closed)
    closed[:, : past.days] &= past.existed & ~past.sold
    chosen = {name: days[row] for name, row in zip(names.tolist(), closed, strict=True)}
    return ClosedDays({name: tuple(dates.tolist()) for name, dates in chosen.items() if len(dates)})


@dataclass(frozen=True)
class _Date:
    """A date that comes back: its days, which of them it explains best, and whether the calendar names it."""

    days: npt.NDArray[np.int64]
    explains: Flags
    named: bool


def _yearly_dates(calendar: pd.DataFrame, days: npt.NDArray[np.datetime64]) -> Iterator[_Date]:
    """Yield the events, the days around Easter, and the days of the year.

    A day that one closure must explain is explained by its event, else by Easter, else by its day of the year: shops
    that closed on an Easter Monday, 28 March, will not close on the next 28 March.
    """
    explained = np.zeros(len(days), bool)
    events = calendar[["event_name_1", "event_name_2"]].to_numpy(str)
    years = range(days[0].item().year, days[-1].item().year + 1)
    easter = np.array([holidays.dates_of(year)["easter"] for year in years], "datetime64[D]")
    for name in filter(None, np.unique(events).tolist()):
        found = np.flatnonzero((events == name).any(axis=1))
        explained[found] = True
        yield _Date(found, np.ones(len(found), bool), named=True)
    best = ~explained
    for shift in EASTER_DAYS:
        found = np.flatnonzero(np.isin(days, easter + shift))
        explained[found] = True
        yield _Date(found, best[found], named=False)
    months = np.char.partition(np.datetime_as_string(days, unit="D"), "-")[:, 2]
    for month_day in np.unique(months).tolist():
        found = np.flatnonzero(months == month_day)
        yield _Date(found, ~explained[found], named=False)


@dataclass(frozen=True)
class _Past:
    """What S stores sold on T days.

    Attributes:
        usual: (S, T) median units of the same weekdays around; 0 where none are known.
        sold: (S, T) whether the store sold more than a closed one does.
        existed: (S, T) whether it had sold before.
        shut: (S, T) whether it was in business, before and after, and sold next to nothing.
        briefly: (S, T) whether it was shut for a few days only.
    """

    usual: Floats
    sold: Flags
    existed: Flags
    shut: Flags
    briefly: Flags

    @property
    def days(self) -> int:
        """T, the number of days."""
        return int(self.usual.shape[1])

    @classmethod
    def of(cls, units: Floats) -> _Past:
        """Judge each day of each store, given (S, T) daily units."""
        weeks = np.arange(1, WEEKS + 1)
        before, after = _same_weekdays(units, -weeks), _same_weekdays(units, weeks)
        usual = np.nan_to_num(_median(np.concatenate([before, after])))
        sold = units > SHARE * usual
        running = np.cumsum(units, axis=1)
        existed = np.pad(running, ((0, 0), (1, 0)))[:, :-1] > 0
        in_business = existed & (usual > 0) & ~(_median(before) <= 0) & ~(_median(after) <= 0)
        shut = in_business & ~sold
        return cls(usual, sold, existed, shut, shut & (_run_lengths(shut) <= LONGEST))

    def always_closed(self, date: _Date) -> Flags:
        """Return (S,) whether each store was closed whenever the date came, and often enough to rely on it.

        Two closed days are enough for a store that usually sells. A single one has to be brief, and on an event of the
        calendar or in most stores at once. A store that has not been through the date follows most of the others.
        """
        known = date.days < self.days
        days, explains = date.days[known], date.explains[known]
        shut, opened = self.shut[:, days], self.sold[:, days].any(axis=1)
        repeated = shut.sum(axis=1) > 1
        once = ~repeated & (shut & explains & self.briefly[:, days]).any(axis=1)
        expected = (self.usual[:, days] * shut).sum(axis=1)
        enough = ENOUGH / 2 if date.named else ENOUGH
        own = ~opened & (repeated | (once & date.named)) & (expected >= enough)
        others = ~opened & (repeated | once)
        most = others.sum() > max(1, opened.sum()) and expected[others].sum() >= enough
        closed: Flags = own | (~opened & most)
        return closed


def _same_weekdays(units: Floats, weeks: npt.NDArray[np.int64]) -> Floats:
    """Return (W, S, T) the units W weeks later (earlier, if negative); NaN outside the days."""
    days = units.shape[1]
    padded = np.pad(units, ((0, 0), (7 * WEEKS, 7 * WEEKS)), constant_values=np.nan)
    return np.stack([padded[:, 7 * (WEEKS + week) : 7 * (WEEKS + week) + days] for week in weeks.tolist()])


def _median(values: Floats) -> Floats:
    """Return the median over the first axis, without the missing values; NaN where all are missing."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.count_nonzero(~np.isnan(values), axis=0)
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)])
    return np.asarray(np.take_along_axis(ordered, middle, axis=0).mean(axis=0), np.float64)


def _run_lengths(flags: Flags) -> npt.NDArray[np.int64]:
    """Return, for each flag that is set, the number of set flags in its run along the second axis; 0 for the others."""
    lengths = np.zeros(flags.shape, np.int64)
    for row, line in enumerate(flags):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(np.int8)))
        for begin, end in edges.reshape(-1, 2).tolist():
            lengths[row, begin:end] = end - begin
    return lengths


def _apply(given: Given, names: list[str], days: npt.NDArray[np.datetime64], past: _Past, closed: Flags) -> None:
    """Change what was learned by what the retailer says about the days ahead, and about days without sales."""
    months = np.char.partition(np.datetime_as_string(days, unit="D"), "-")[:, 2]
    ahead = np.arange(len(days)) >= past.days
    entries = [*((date, True) for date in given.closed), *((date, False) for date in given.open)]
    for date, value in sorted(entries, key=lambda entry: entry[0].store != ""):  # a store's own entries come last
        rows = np.array([date.store in ("", name) for name in names])
        closed[np.ix_(rows, (months == date.month_day) & (value | ahead))] = value
