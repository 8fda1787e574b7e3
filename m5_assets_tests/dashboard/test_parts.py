"""Words, colours, places, promotions: what the pages are put together from."""

from __future__ import annotations

import datetime as dt
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5_assets.dashboard import colours, explore_page, figures, words
from m5_assets.dashboard.scope import Scope

_NAMES = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1).map(str.strip).filter(bool))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.units(1234567.4), "1,234,567"),
        (words.units(None), words.DASH),
        (words.money(12.5), "$12.50"),
        (words.money(-1234.0), "\N{MINUS SIGN}$1,234"),
        (words.money(4_012_000.0), "$4.01 M"),
        (words.change(0.0423), "+4.2%"),
        (words.change(-0.5, 0), "\N{MINUS SIGN}50%"),
        (words.change(19.0), "\N{MULTIPLICATION SIGN}20"),
        (words.change(float("nan")), words.DASH),
        (words.difference(-3.0), "\N{MINUS SIGN}3"),
        (words.day(dt.date(2016, 5, 6)), "6 May 2016"),
        (words.moment(dt.datetime(2016, 5, 6, 2, 4, tzinfo=dt.UTC)), "6 May 2016, 02:04 UTC"),
    ],
)
def test_numbers_are_said_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_there_is_no_change_without_a_base() -> None:
    assert words.ratio(5.0, 0.0) is None
    assert words.ratio(None, 5.0) is None
    assert words.ratio(6.0, 5.0) == pytest.approx(0.2)


@pytest.mark.parametrize("colour", [*colours.MODEL_COLOURS.values(), colours.HISTORY, colours.LAST_YEAR])
def test_lines_stand_out_from_white(colour: str) -> None:
    assert colours.contrast(colour, "#ffffff") >= 3


@pytest.mark.parametrize("colour", [colours.INK, colours.MUTED, colours.ACCENT, colours.RISE, colours.FALL])
def test_text_stands_out_from_white(colour: str) -> None:
    assert colours.contrast(colour, "#ffffff") >= 4.5


def test_contrast_is_that_of_the_standard() -> None:
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WebAIM's own example


def test_models_differ_in_more_than_their_colour() -> None:
    assert len(set(colours.MODEL_DASHES.values())) == len(colours.MODEL_DASHES)


@given(_NAMES, _NAMES, _NAMES, _NAMES, _NAMES)
def test_a_place_survives_its_url(state: str, store: str, cat: str, dept: str, item: str) -> None:
    scope = Scope(state, store, cat, dept, item)
    assert Scope.of(dict(parse_qsl(scope.query(week="2016-05-16")))) == scope


def test_the_way_down_goes_from_state_to_item() -> None:
    scope, seen = Scope(), []
    for value in ("CA", "CA_1", "FOODS_1", "FOODS_1_001"):
        seen.append(scope.below)
        scope = scope.down(value)
    assert seen == ["state", "store", "dept", "item"]
    assert scope.below is None
    assert [name for name, _ in scope.trail] == ["All stores", "CA", "CA_1", "FOODS_1", "FOODS_1_001"]
    assert Scope(item="FOODS_1_001").below == "store"


def test_a_promotion_is_a_price_well_below_the_usual_one() -> None:
    days = [dt.date(2016, 1, 1) + dt.timedelta(days=n) for n in range(100)]
    price = np.full(100, 4.0)
    price[70:77] = 3.0
    price[80] = 3.95  # cents
    shown = explore_page.prices(pd.DataFrame({"date": days, "price": price}))
    assert shown.loc[shown["promotion"], "date"].tolist() == days[70:77]
    assert figures.spans(shown["date"].tolist(), shown["promotion"].tolist()) == [(days[70], days[76])]


def test_a_price_that_stays_low_becomes_the_usual_one() -> None:
    days = [dt.date(2016, 1, 1) + dt.timedelta(days=n) for n in range(200)]
    shown = explore_page.prices(pd.DataFrame({"date": days, "price": np.where(np.arange(200) < 100, 4.0, 3.0)}))
    assert shown["promotion"].iloc[101]
    assert not shown["promotion"].iloc[-1]
