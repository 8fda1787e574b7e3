"""Tests of the closed days: what stores' sales show, what the retailer says, and what becomes of it in each model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

import numpy as np
import pandas as pd
import pytest

from m5_assets.forecasting.closed_days import ENOUGH, ClosedDays, Given, YearlyDate, learn
from m5_assets.forecasting.panel import HORIZON

FIRST = dt.date(2013, 11, 1)
CHRISTMAS = {year: dt.date(year, 12, 25) for year in range(2013, 2017)}


class Chain:
    """Stores that usually sell `rate` units a day, more at weekends, through a last known day."""

    def __init__(
        self, last: str, rates: Collection[float], *, first: dt.date = FIRST, events: dict[str, str] | None = None
    ):
        self.dates = pd.date_range(first, pd.Timestamp(last) + pd.Timedelta(days=HORIZON))
        self.days = len(self.dates) - HORIZON
        usual = np.outer(list(rates), np.where(self.dates[: self.days].day_of_week >= 5, 1.4, 0.9))
        self.units = np.random.default_rng(1).poisson(usual)
        self.stores = np.array([f"S{place}" for place in range(len(usual))])
        named = [(events or {}).get(day, "") for day in self.dates.strftime("%m-%d")]
        self.calendar = pd.DataFrame({"date": self.dates, "event_name_1": named, "event_name_2": ""})

    def set(self, day: str, units: int = 0, store: int | slice = slice(None)) -> None:
        """Change what stores sold on a day (YYYY-MM-DD) or span of days (first/last)."""
        begin, _, end = day.partition("/")
        self.units[store, self.dates.slice_indexer(begin, end or begin)] = units

    def closed(self, given: Given | None = None) -> dict[str, list[str]]:
        """Return the closed days of each store."""
        found = learn(self.stores, self.units, self.calendar, given).dates
        return {store: [day.isoformat() for day in days] for store, days in found.items()}


def walmart(last: str = "2015-11-22", stores: int = 2, **options: object) -> Chain:
    """Return stores that close on 25 December, but for a few stray sales."""
    chain = Chain(last, [500.0 + store for store in range(stores)], events={"12-25": "Christmas"}, **options)  # type: ignore[arg-type]
    for year in (2013, 2014):
        chain.set(f"{year}-12-25", units=4)
    return chain


def test_a_date_on_which_next_to_nothing_is_sold_is_closed_in_the_past_and_ahead() -> None:
    chain = walmart()
    days = ["2013-12-25", "2014-12-25"]
    assert chain.closed() == dict.fromkeys(["S0", "S1"], days)
    later = walmart("2015-12-06")
    assert later.closed() == {store: [*days, "2015-12-25"] for store in ("S0", "S1")}


def test_a_store_that_sold_on_the_date_is_open() -> None:
    chain = walmart("2015-12-06")
    chain.set("2014-12-25", 400, store=1)
    assert chain.closed() == {"S0": ["2013-12-25", "2014-12-25", "2015-12-25"]}


def test_a_date_that_the_history_has_not_seen_is_open() -> None:
    chain = Chain("2015-12-06", [500, 500], first=dt.date(2015, 3, 1), events={"12-25": "Christmas"})
    assert chain.closed() == {}


def test_one_year_is_enough_on_an_event_or_when_most_stores_close() -> None:
    chain = Chain("2014-12-14", [500, 500], events={"12-25": "Christmas"})
    for day in ("2013-12-25", "2013-12-26", "2014-01-01"):
        chain.set(day)
    days = ["2013-12-25", "2013-12-26", "2014-01-01", "2014-12-25", "2014-12-26", "2015-01-01"]
    assert chain.closed() == {"S0": days, "S1": days}
    chain.set("2013-12-26", 300, store=1)
    chain.set("2013-12-25", 300, store=1)
    assert chain.closed()["S0"] == [day for day in days if not day.endswith("26")]
    assert chain.closed()["S1"] == ["2014-01-01", "2015-01-01"]


def test_on_an_event_a_small_store_is_judged_as_well() -> None:
    chain = Chain("2014-12-14", [0.7 * ENOUGH, 0.7 * ENOUGH], events={"12-25": "Christmas"})
    chain.set("2013-12-25", store=0)
    chain.set("2013-12-25", 12, store=1)
    assert chain.closed() == {"S0": ["2013-12-25", "2014-12-25"]}


def test_a_single_store_needs_an_event_or_two_years() -> None:
    chain = Chain("2014-12-14", [500])
    chain.set("2013-12-25")
    assert chain.closed() == {}
    twice = Chain("2015-12-14", [500])
    for year in (2013, 2014):
        twice.set(f"{year}-12-25")
    assert twice.closed() == {"S0": ["2013-12-25", "2014-12-25", "2015-12-25"]}


def test_a_day_that_follows_easter_is_closed_on_its_next_date() -> None:
    chain = Chain("2015-03-22", [500, 500])
    for day in ("2014-04-18", "2014-04-21"):  # Good Friday and Easter Monday
        chain.set(day)
    assert chain.closed()["S0"] == ["2014-04-18", "2014-04-21", "2015-04-03", "2015-04-06"]


@pytest.mark.parametrize(
    "days", ["2014-12-01/2014-12-14", "2014-11-10/2015-02-15"], ids=["strike of two weeks", "closed for months"]
)
def test_a_long_closure_does_not_come_back(days: str) -> None:
    chain = Chain("2015-11-22", [500, 500])
    chain.set(days)
    assert chain.closed() == {}


def test_a_store_in_a_blizzard_is_open_a_year_later() -> None:
    chain = walmart("2015-01-25", stores=5)
    chain.set("2014-02-02", units=2, store=3)
    assert set(chain.closed()["S3"]) == {"2013-12-25", "2014-12-25"}


def test_stores_that_close_every_sunday_have_no_yearly_dates() -> None:
    chain = Chain("2015-01-04", [500, 500])
    chain.units[:, chain.dates[: chain.days].day_of_week == 6] = 0
    assert chain.closed() == {}


def test_before_it_existed_a_store_is_not_closed_and_later_it_follows_the_others() -> None:
    chain = walmart("2015-12-06", stores=3)
    chain.set(f"{FIRST}/2015-10-05", store=2)
    assert chain.closed()["S2"] == ["2015-12-25"]
    chain.set("2014-12-25", 400, store=slice(2))
    assert "S2" not in chain.closed()


def test_a_store_opening_after_christmas_was_not_closed_on_it() -> None:
    chain = walmart("2015-12-06", stores=1)
    chain.set(f"{FIRST}/2014-12-28")
    assert chain.closed() == {}


def test_a_store_too_small_to_judge_follows_the_others() -> None:
    chain = Chain("2015-12-06", [ENOUGH / 10, 500, 500])
    for year in (2013, 2014):
        chain.set(f"{year}-12-25")
    assert chain.closed()["S0"][-1] == "2015-12-25"
    alone = Chain("2015-12-06", [ENOUGH / 10])
    for year in (2013, 2014):
        alone.set(f"{year}-12-25")
    assert alone.closed() == {}


def test_what_the_retailer_says_overrides_the_days_ahead() -> None:
    first_year = Chain("2015-12-06", [500, 500], first=dt.date(2015, 3, 1))
    assert first_year.closed(Given.parse("12-25, S1:12-24", "")) == {
        "S0": ["2015-12-25"],
        "S1": ["2015-12-24", "2015-12-25"],
    }
    chain = walmart("2015-12-06")
    past = ["2013-12-25", "2014-12-25"]
    assert chain.closed(Given.parse("", "S1:12-25")) == {"S0": [*past, "2015-12-25"], "S1": past}
    chain.set("2014-12-25", 400)
    assert chain.closed(Given.parse("12-25", "")) == {store: ["2013-12-25", "2015-12-25"] for store in ("S0", "S1")}


def test_a_setting_is_a_list_of_dates_for_all_stores_or_one() -> None:
    assert YearlyDate.parse(" 12-25,CA_1:01-01, 02-29 ") == (
        YearlyDate("12-25"),
        YearlyDate("01-01", "CA_1"),
        YearlyDate("02-29"),
    )
    assert YearlyDate.parse("") == ()


def test_an_entry_that_names_the_store_beats_one_for_all_stores() -> None:
    past = ["2013-12-25", "2014-12-25"]
    assert walmart("2015-12-06").closed(Given.parse("S1:12-25", "12-25")) == {"S0": past, "S1": [*past, "2015-12-25"]}
    assert walmart("2015-12-06").closed(Given.parse("12-25", "S1:12-25")) == {"S0": [*past, "2015-12-25"], "S1": past}


@pytest.mark.parametrize("date", ["12-25", "CA_1:12-25"])
def test_a_day_that_is_both_closed_and_open_is_refused(date: str) -> None:
    with pytest.raises(ValueError, match=f"^{date} is both closed and open"):
        Given.parse(f"{date},01-01", f"TX_1:12-25,{date}")


@pytest.mark.parametrize("text", ["25-12", "2015-12-25", "CA_1", "12-25;12-26", "christmas"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a day of the year such as 12-25 or CA_1:12-25"):
        YearlyDate.parse(f"01-01,{text}")


def test_closed_days_survive_their_text_and_can_be_looked_up() -> None:
    found = ClosedDays({"B": (CHRISTMAS[2014], CHRISTMAS[2015]), "A": (CHRISTMAS[2015],)})
    assert ClosedDays.of_text(found.text()) == found
    days = np.arange("2015-12-24", "2015-12-27", dtype="datetime64[D]")
    np.testing.assert_array_equal(found.of(["A", "C", "B", "A"], days)[:, 1], [True, False, True, True])
    assert not found.of(["A", "B"], days)[:, [0, 2]].any()
    assert found.after(CHRISTMAS[2014]) == {"2015-12-25": 2}
    assert ClosedDays.join([found.only(["A"]), found.only(["B"])]) == found
