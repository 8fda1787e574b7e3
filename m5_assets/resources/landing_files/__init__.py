"""The landing folder: read and validate the retailer's files, from a local folder or S3.

The files have the format in which Kaggle publishes M5. A file that fails a check raises `BadInput`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing_files.bad_input import BadInput
from m5_assets.resources.landing_files.calendar_file import read_calendar, read_first_day
from m5_assets.resources.landing_files.csv_file import LandingFile
from m5_assets.resources.landing_files.folder import Folder
from m5_assets.resources.landing_files.official_file import LandedOfficial, read_official
from m5_assets.resources.landing_files.price_file import content_by_week, read_prices
from m5_assets.resources.landing_files.sales_file import (
    LandedSales,
    SalesSummary,
    check_days,
    read_days,
    read_sales,
    summarize_sales,
)
from m5_assets.resources.landing_files.totals_file import KEY_COLUMNS, LandedTotals, read_totals, sum_totals

__all__ = [
    "BadInput",
    "LandedOfficial",
    "LandedSales",
    "LandedTotals",
    "Landing",
    "Span",
    "content_by_week",
    "sum_totals",
]

CALENDAR = "calendar.csv"
PRICES = "sell_prices.csv"
SALES = ("sales_train_evaluation.csv", "sales_train_validation.csv")
"""File names of the sales, preferred one first."""
TOTALS = "sales_store_dept_history.csv"
OFFICIAL = "official.parquet"


@dataclass(frozen=True)
class Span:
    """The days that landed files cover.

    Attributes:
        first_day: first day of the sales or the older totals.
        first_sales_day: first day of the sales.
        last_day: last day of the sales.
    """

    first_day: dt.date
    first_sales_day: dt.date
    last_day: dt.date


class Landing:
    """Reader of one landing folder; nothing is cached between calls.

    All methods raise `BadInput` if a file is missing or invalid, which a retry cannot fix. Transient failures, such as
    a network error, stay an `OSError`.

    Args:
        root: a local folder or `s3://bucket/prefix`. For S3, AWS_ENDPOINT_URL_S3 (else AWS_ENDPOINT_URL) sets the
            endpoint; credentials and region come from the AWS SDK's usual places.
    """

    def __init__(self, root: str) -> None:
        self._folder = Folder.at(root)

    def calendar(self) -> pd.DataFrame:
        """Return one row per day: `date` (datetime64[s]), `wm_yr_wk` and `d` (int32), events, SNAP days.

        Events are the four columns `event_name_1`, `event_type_1`, `event_name_2`, `event_type_2` (empty string if
        none). SNAP days are one boolean column `snap_<state>` per state, in the file's order.
        """
        return read_calendar(self._folder.file(CALENDAR))

    def sell_prices(self) -> pa.Table:
        """Return the weekly prices, in the file's order.

        Columns: `store_id` and `item_id` (dictionaries of strings), `wm_yr_wk` (int32), `sell_price` (float32, USD).
        """
        return read_prices(self._folder.file(PRICES), self.calendar())

    def sales(self) -> LandedSales:
        """Return all series of the sales file, sorted by store and item."""
        return read_sales(self._sales_file(), self.calendar())

    def sales_summary(self) -> SalesSummary:
        """Validate the sales file in one pass and return a summary, which is much smaller than the sales."""
        return summarize_sales(self._sales_file(), self.calendar())

    def totals(self) -> LandedTotals | None:
        """Return the store-department totals, or None without the optional file."""
        file = self._folder.find(TOTALS)
        return read_totals(file, self.calendar()) if file else None

    def official(self) -> LandedOfficial | None:
        """Return the competition's weights and scales, or None without the optional file."""
        file = self._folder.find(OFFICIAL)
        return read_official(file) if file else None

    def sales_days(self) -> range:
        """Return the day numbers in the sales file; reads only its header."""
        return read_days(self._sales_file())

    def days(self) -> tuple[dt.date, dt.date]:
        """Return the first and last day of the sales; reads only the sales file's header."""
        file, calendar = self._sales_file(), self.calendar()
        numbers, days = read_days(file), calendar.set_index("d")["date"]
        check_days(file, numbers, calendar)
        return days[numbers[0]].date(), days[numbers[-1]].date()

    def span(self) -> Span:
        """Return which days the sales and the older totals cover; reads only the first lines of the files."""
        number, date = read_first_day(self._folder.file(CALENDAR))
        sales, totals = self.sales_days(), self._folder.find(TOTALS)
        first = min(sales[0], read_days(totals, KEY_COLUMNS)[0]) if totals else sales[0]
        return Span(*(date + dt.timedelta(days=day - number) for day in (first, sales[0], sales[-1])))

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return (size in bytes, modification time in ns) of each stored file, to detect changes without reading."""
        return self._folder.stamps((CALENDAR, PRICES, *SALES, TOTALS, OFFICIAL))

    def missing(self) -> list[str]:
        """Return which of the calendar and the prices are in the folder in no form."""
        return [name for name in (CALENDAR, PRICES) if self._folder.find(name) is None]

    def name_of(self, name: str) -> str:
        """Return a file's name for messages, in the form in which it is there."""
        return str(self._folder.file(name))

    def notes(self) -> Iterator[str]:
        """Yield what is no fault, but may not be meant: a sales file that is not read, a file that may be cut off.

        Raises:
            BadInput: if the sales file that is not read reaches further than the one that is.
        """
        sales = [file for name in SALES if (file := self._folder.find(name))]
        for other in sales[1:]:
            last, others_last = read_days(sales[0])[-1], read_days(other)[-1]
            if others_last > last:
                problem = f"reaches d_{others_last}, but {sales[0].member}, which is read if both exist, only d_{last}"
                raise BadInput(other, problem, "Remove the one that is out of date.")
            yield f"{other.member} is not read, because {sales[0].member} is there"
        for file in (*sales[:1], *filter(None, map(self._folder.find, (PRICES, TOTALS)))):
            if not file.ends_with_a_line():
                yield f"{file.member} ends without a line break: if it was cut off there, its last number is wrong"

    def sales_name(self) -> str:
        """Return the name of the sales file that is read."""
        return str(self._sales_file())

    def _sales_file(self) -> LandingFile:
        return self._folder.first(SALES)
