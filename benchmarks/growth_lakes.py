"""Generates the lakes for `growth`: M5's 3,049 items in any number of stores, drawn like the sample."""

from __future__ import annotations

import datetime as dt
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.forecasting.history import DailyUnits, write_by_store
from m5_assets.resources.lake import Lake
from m5_assets.sample.demand import (
    DEPARTMENTS,
    STORES,
    Span,
    draw_assortment,
    draw_store,
    items_by_department,
)
from m5_assets.sample.sample_calendar import sample_calendar
from m5_assets.weeks import Week, weeks_between

WEEK = Week.parse("2016-05-16")
ITEMS = 3049
SEED = 1
_TEXT = pa.dictionary(pa.int32(), pa.string())
PRICES = pa.schema([("store_id", _TEXT), ("item_id", _TEXT), ("wm_yr_wk", pa.int32()), ("sell_price", pa.float32())])
KEYS = ["store_id", "dept_id", "cat_id", "state_id"]

log = logging.getLogger("growth")


class Size:
    """One size, with its lake, its jobs' folders and its measurements.

    Args:
        root: folder of all sizes.
        stores: number of stores.
        weeks: weeks of sales.
        items: items of each store.
    """

    def __init__(self, root: Path, stores: int, weeks: int, items: int = ITEMS) -> None:
        self.stores, self.weeks, self.items, self.root = stores, weeks, items, root / f"{stores}-stores"
        self.models = root / "models"
        self.lake = Lake(root=str(self.root / "lake"))

    @property
    def series(self) -> int:
        """Number of series."""
        return self.stores * self.items

    def job(self, name: str) -> Path:
        """Return an empty folder that serves as a job's /opt/ml."""
        base = self.root / "jobs" / name
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        return base

    def files(self, dataset: str, partition: str | None = None, part: str | None = None) -> list[Path]:
        """Return the files of a partition in the lake."""
        manifest = self.lake.get(dataset, partition)
        return [Path(self.lake.path(f.key)) for f in (manifest.under(part) if part else manifest.files)]

    def take(self, dataset: str, source: Path) -> None:
        """Move a job's output into the lake."""
        prefix = f"{self.lake.folder(dataset, WEEK.key)}/job"
        target = Path(self.lake.path(prefix))
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        attributes = {"prefix": prefix, "origin": WEEK.origin.isoformat(), "trained_through": str(WEEK.origin)}
        self.lake.commit(self.lake.collect(dataset, WEEK.key, prefix, inputs={}, attributes=attributes))

    def put(self, dataset: str, partition: str | None, name: str, write: Callable[[Path], object]) -> None:
        """Publish a dataset with one file."""
        with self.lake.staging() as staged:
            write(staged / name)
            attributes = {"landed_first_day": str(self.window[0].first_day)}
            self.lake.publish(dataset, partition, staged, inputs={}, attributes=attributes)

    @property
    def window(self) -> list[Week]:
        """The weeks of sales, oldest first."""
        return weeks_between(WEEK.shift(1 - self.weeks), WEEK)


def generate(size: Size) -> None:
    """Generate the lake of a size."""
    calendar = sample_calendar(WEEK.last_forecast_day)
    stop = len(calendar) - 28
    span = Span(calendar, stop - 7 * size.weeks, stop)
    week_names = calendar["wm_yr_wk"].to_numpy()[::7]
    counts = items_by_department(size.items)
    assortments = [
        draw_assortment(np.random.default_rng([SEED, index, 0]), department, np.arange(count) + 1, len(week_names))
        for index, (department, count) in enumerate(zip(DEPARTMENTS, counts, strict=True))
    ]
    items = pd.DataFrame(
        {
            "item_id": [name for assortment in assortments for name in assortment.names()],
            "dept_id": np.repeat([department.name for department in DEPARTMENTS], counts),
        }
    )
    order = items["item_id"].argsort().to_numpy()
    items = items.iloc[order].reset_index(drop=True)
    names = sorted(f"{store}{number:03}" for number, store in zip(range(size.stores), _cycle(STORES), strict=False))
    units = np.empty((size.series, span.stop - span.first), np.int16)

    def prices(path: Path) -> None:
        with pq.ParquetWriter(path, PRICES, compression="zstd") as writer:
            for number, store in enumerate(names):
                drawn = [
                    draw_store(np.random.default_rng([SEED, index, number + 1]), assortment, store[:4], span)
                    for index, assortment in enumerate(assortments)
                ]
                cents = np.concatenate([part for part, _ in drawn])[order]
                sold = np.concatenate([part for _, part in drawn])[order]
                units[number * size.items : (number + 1) * size.items] = np.minimum(sold, np.iinfo(np.int16).max)
                writer.write_table(_price_table(store, items["item_id"], cents, week_names))
                log.info("%d of %d stores drawn", number + 1, len(names))

    size.put("sell_prices", None, "sell_prices.parquet", prices)
    size.put("calendar", None, "calendar.parquet", _table_writer(_calendar_table(calendar)))
    series = pd.concat([items.assign(store_id=store) for store in names], ignore_index=True)
    series = series.assign(cat_id=series["dept_id"].str.partition("_")[0], state_id=series["store_id"].str[:2])
    series = series[["item_id", "dept_id", "cat_id", "store_id", "state_id"]]
    group = series.groupby(KEYS, sort=True).ngroup().to_numpy()
    groups = series[KEYS].drop_duplicates().sort_values(KEYS, ignore_index=True)
    for number, week in enumerate(size.window):
        sold = units[:, 7 * number : 7 * number + 7].astype(np.int32)
        size.put("raw_sales", week.key, "sales.parquet", _sales_writer(DailyUnits(series, week.first_day, sold)))
        sums = np.zeros((len(groups), 7), np.int64)
        np.add.at(sums, group, sold)
        totals = _group_table(groups, week.first_day, sums)
        size.put("store_dept_sales", week.key, "totals.parquet", _table_writer(totals))
    last = np.zeros((len(groups), 28))
    np.add.at(last, group, units[:, -28:])
    ahead = np.tile(last.reshape(-1, 4, 7).mean(axis=1), 4).astype(np.float32)
    totals = _group_table(groups, WEEK.shift(1).first_day, ahead)
    size.put("totals_forecast", WEEK.key, "totals.parquet", _table_writer(totals))
    weights = json.dumps({"lstm_weight": 0.4, "alignment": 0.8})
    size.put("ensemble_weights", WEEK.key, "weights.json", lambda path: path.write_text(weights))


def _cycle(stores: dict[str, float]) -> Iterator[str]:
    while True:
        yield from stores


def _sales_writer(units: DailyUnits) -> Callable[[Path], None]:
    return lambda path: write_by_store(units.table(), path)


def _table_writer(table: pa.Table) -> Callable[[Path], None]:
    return lambda path: pq.write_table(table, path)


def _price_table(
    store: str, item_ids: pd.Series[str], cents: npt.NDArray[np.int64], week_names: npt.NDArray[np.int64]
) -> pa.Table:
    item, week = np.nonzero(cents)
    names = pa.array(item_ids.astype(str), pa.string())
    return pa.table(
        {
            "store_id": pa.DictionaryArray.from_arrays(np.zeros(len(item), np.int32), pa.array([store])),
            "item_id": pa.DictionaryArray.from_arrays(item.astype(np.int32), names),
            "wm_yr_wk": pa.array(week_names[week].astype(np.int32)),
            "sell_price": pa.array((cents[item, week] / 100).astype(np.float32)),
        },
        PRICES,
    )


def _calendar_table(calendar: pd.DataFrame) -> pa.Table:
    frame = calendar.drop(columns=["weekday", "wday", "month", "year"]).astype({"wm_yr_wk": np.int32})
    snaps = {name: bool for name in frame.columns if name.startswith("snap_")}
    days = frame["d"].str.removeprefix("d_").astype(np.int32)
    return pa.Table.from_pandas(
        frame.assign(date=pd.to_datetime(frame["date"]), d=days).astype(snaps), preserve_index=False
    )


def _group_table(groups: pd.DataFrame, first: dt.date, units: npt.NDArray[Any]) -> pa.Table:
    count, days = units.shape
    columns = {name: np.repeat(groups[name].to_numpy(str), days) for name in KEYS}
    dates = np.tile(np.datetime64(first, "D") + np.arange(days), count)
    return pa.table({**columns, "date": pa.array(dates, pa.date32()), "units": units.reshape(-1)})
