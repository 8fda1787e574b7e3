"""The generated sample: a data set in the exact format of Kaggle's M5 files, for demos and tests.

Files are written store by store, so memory does not grow with the number of stores. No number in them is Walmart's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from m5_assets.errors import UserError
from m5_assets.sample.demand import (
    DEPARTMENTS,
    STORES,
    Assortment,
    Span,
    draw_assortment,
    draw_store,
    items_by_department,
)
from m5_assets.sample.sample_calendar import FIRST_DAY, sample_calendar

log = logging.getLogger(__name__)

HORIZON = timedelta(28)
"""How far the calendar and prices extend beyond the sales, as in M5."""

LAST_DAY = date(2016, 5, 22)
"""d_1941 of M5, the origin of its newest forecast week."""

_BLOCK = 512
"""Items drawn at a time; they need a few tens of megabytes for M5's whole history."""

_NO_QUOTES = pa_csv.WriteOptions(include_header=False, quoting_style="none")


NAMES = ("calendar.csv", "sell_prices.csv", "sales_train_evaluation.csv")


def write_sample(directory: Path, *, items: int, weeks: int, seed: int, last_day: date = LAST_DAY) -> None:
    """Write calendar.csv, sell_prices.csv and sales_train_evaluation.csv, replacing existing files.

    The same arguments give the same bytes. The files are written under temporary names and renamed when all are
    complete.

    Args:
        directory: the output folder, created if missing.
        items: number of items, at least 7; each is sold in M5's 10 stores, so there are 10 series per item.
        weeks: length of the sales history, in weeks from Monday to Sunday. The calendar always starts at M5's d_1;
            prices start there or at the item's release.
        seed: seed of the random numbers.
        last_day: the last day of sales, a Sunday; the calendar and prices extend 28 days further.

    Raises:
        UserError: an argument is out of range.
    """
    first = (last_day - FIRST_DAY).days + 1 - 7 * weeks
    if last_day.weekday() != 6:
        raise UserError(f"last_day is {last_day}, a {last_day:%A}; give a Sunday")
    if weeks < 1 or first < 0:
        most = ((last_day - FIRST_DAY).days + 1) // 7
        raise UserError(f"weeks is {weeks}; give 1 to {most}: the calendar begins on {FIRST_DAY}")
    if seed < 0:
        raise UserError(f"seed is {seed}; give 0 or more")
    counts = items_by_department(items)
    calendar = sample_calendar(last_day + HORIZON)
    span = Span(calendar, first, len(calendar) - HORIZON.days)
    directory.mkdir(parents=True, exist_ok=True)
    with _replacing([directory / name for name in NAMES]) as (calendar_file, price_file, sales_file):
        calendar_file.write(calendar.to_csv(index=False, lineterminator="\n").encode())
        _write_stores(price_file, sales_file, span, counts, seed)


def _write_stores(price_file: BinaryIO, sales_file: BinaryIO, span: Span, counts: list[int], seed: int) -> None:
    price_file.write(b"store_id,item_id,wm_yr_wk,sell_price\n")
    days = ",".join(span.days["d"])
    sales_file.write(f"id,item_id,dept_id,cat_id,store_id,state_id,{days}\n".encode())
    week_names = span.calendar["wm_yr_wk"].to_numpy()[::7]
    started = time.monotonic()
    for number, store in enumerate(STORES):
        for block, assortment in _blocks(counts, len(week_names), seed):
            # One random stream per store and block, so that no draw depends on earlier ones.
            rng = np.random.default_rng([seed, *block, 1 + number])
            cents, units = draw_store(rng, assortment, store, span)
            pa_csv.write_csv(_price_rows(assortment, store, cents, week_names), price_file, _NO_QUOTES)
            pa_csv.write_csv(_sales_rows(assortment, store, units), sales_file, _NO_QUOTES)
        elapsed = time.monotonic() - started
        left = elapsed / (number + 1) * (len(STORES) - number - 1)
        log.info("sample: store %s written (%d of %d), %.0f s left", store, number + 1, len(STORES), left)


def _blocks(counts: list[int], weeks: int, seed: int) -> Iterator[tuple[tuple[int, int], Assortment]]:
    for index, (department, count) in enumerate(zip(DEPARTMENTS, counts, strict=True)):
        for start in range(0, count, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, count)) + 1
            # The same items are drawn again for every store, which is cheaper than keeping all of them.
            rng = np.random.default_rng([seed, index, start, 0])
            yield (index, start), draw_assortment(rng, department, numbers, weeks)


def _price_rows(
    assortment: Assortment, store: str, cents: npt.NDArray[np.int64], week_names: npt.NDArray[np.int64]
) -> pa.Table:
    item, week = np.nonzero(cents)
    values, code = np.unique(cents[item, week], return_inverse=True)
    texts = pa.array([str(value / 100) for value in values.tolist()])
    return pa.table(
        {
            "store_id": pa.repeat(store, len(item)),
            "item_id": pa.array(assortment.names()).take(pa.array(item)),
            "wm_yr_wk": week_names[week],
            "sell_price": texts.take(pa.array(code)),
        }
    )


def _sales_rows(assortment: Assortment, store: str, units: npt.NDArray[np.int64]) -> pa.Table:
    names, department = assortment.names(), assortment.department.name
    columns: dict[str, object] = {
        "id": [f"{name}_{store}_evaluation" for name in names],
        "item_id": names,
        "dept_id": [department] * len(names),
        "cat_id": [department.partition("_")[0]] * len(names),
        "store_id": [store] * len(names),
        "state_id": [store.partition("_")[0]] * len(names),
    }
    columns |= {str(day): column for day, column in enumerate(np.ascontiguousarray(units.T))}
    return pa.table(columns)


@contextmanager
def _replacing(paths: list[Path]) -> Iterator[list[BinaryIO]]:
    """Open temporary files next to these paths; rename them when the block succeeds, else remove them."""
    temporary = [path.with_name(path.name + ".tmp") for path in paths]
    try:
        with ExitStack() as stack:
            yield [stack.enter_context(path.open("wb")) for path in temporary]
        for source, path in zip(temporary, paths, strict=True):
            source.replace(path)
    finally:
        for source in temporary:
            source.unlink(missing_ok=True)
