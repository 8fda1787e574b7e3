"""Numbers and dates as the pages show them."""

from __future__ import annotations

import datetime as dt

import pytest

from m5_assets.dashboard import formatting


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.units(1234567.4), "1,234,567"),
        (formatting.units(None), formatting.DASH),
        (formatting.money(12.5), "$12.50"),
        (formatting.money(-1234.0), "\N{MINUS SIGN}$1,234"),
        (formatting.money(4_012_000.0), "$4.01 M"),
        (formatting.change(0.0423), "+4.2%"),
        (formatting.change(-0.5, 0), "\N{MINUS SIGN}50%"),
        (formatting.change(19.0), "\N{MULTIPLICATION SIGN}20"),
        (formatting.change(float("nan")), formatting.DASH),
        (formatting.difference(-3.0), "\N{MINUS SIGN}3"),
        (formatting.day(dt.date(2016, 5, 6)), "6 May 2016"),
        (formatting.moment(dt.datetime(2016, 5, 6, 2, 4, tzinfo=dt.UTC)), "6 May 2016, 02:04 UTC"),
    ],
)
def test_numbers_and_dates_are_formatted(shown: str, expected: str) -> None:
    assert shown == expected


def test_ratio_needs_a_base() -> None:
    assert formatting.ratio(5.0, 0.0) is None
    assert formatting.ratio(None, 5.0) is None
    assert formatting.ratio(6.0, 5.0) == pytest.approx(0.2)
