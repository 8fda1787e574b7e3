"""Compares the rate of a week's load with a bare COPY of the same rows.

    python benchmarks/postgres_load.py [--series 30490] [--rounds 5]

A week has 30,490 series x 28 days = 853,720 rows. A bare COPY sends the same rows, ready in memory, into an existing
empty table with the same columns, and commits. It is measured with the primary key of a week's partition, which is the
same work for the server, and without a key, which is COPY's limit, in binary and in the default text format.

The load is everything in `load_series`: check, hash and encode the rows, look up the series' numbers, COPY into a new
partition, build its primary key, swap it for the old week, log, commit. All take turns on an embedded PostgreSQL in a
temporary folder; medians are compared.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Engine, create_engine, text

from m5_assets.resources.postgres import migrate, schema
from m5_assets.resources.postgres.copying import copy_from
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.load import load_series
from m5_assets.resources.postgres.load_rows import SeriesRows

WEEK = dt.date(2016, 5, 16)
DAYS = 28
STORES = ("CA_1", "CA_2", "CA_3", "CA_4", "TX_1", "TX_2", "TX_3", "WI_1", "WI_2", "WI_3")


def week_of(count: int, seed: int = 0) -> pa.Table:
    """Return a week's forecasts of `count` series in the lake's format."""
    rng = np.random.default_rng(seed)
    stores = np.repeat(np.arange(len(STORES)), -(-count // len(STORES)))[:count]
    items = np.concatenate([np.arange(n) for n in np.bincount(stores)])
    names = {
        "item_id": [f"FOODS_{1 + i % 3}_{i:04d}" for i in range(items.max() + 1)],
        "dept_id": [f"FOODS_{1 + i % 3}" for i in range(items.max() + 1)],
        "cat_id": ["FOODS"] * (items.max() + 1),
        "store_id": list(STORES),
        "state_id": [store[:2] for store in STORES],
    }
    codes = {name: np.repeat(stores if name in ("store_id", "state_id") else items, DAYS) for name in names}
    columns = {
        name: pa.DictionaryArray.from_arrays(pa.array(codes[name].astype(np.int32)), pa.array(names[name]))
        for name in names
    }
    dates = np.datetime64(WEEK + dt.timedelta(days=7), "D") + np.arange(DAYS)
    units = rng.gamma(0.5, 2.0, (4, count * DAYS)).astype(np.float32)
    return pa.table(
        {
            **columns,
            "date": pa.array(np.tile(dates, count), pa.date32()),
            **dict(zip(("gbm", "lstm", "average", "ensemble"), units, strict=True)),
            "sell_price": np.repeat(rng.uniform(1, 9, count).astype(np.float32), DAYS),
        }
    )


def bare_copy(engine: Engine, options: str, content: bytes, key: str = "") -> float:
    """Return the seconds of a COPY into an existing empty table, commit included.

    Args:
        engine: engine of a database with the schema.
        options: columns and format, as in the COPY statement.
        content: the rows in that format.
        key: the table's key, as in CREATE TABLE.
    """
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS m5.bare"))
        connection.execute(text(f"CREATE TABLE m5.bare (LIKE {schema.forecast} {key})"))
    begin = time.perf_counter()
    with engine.begin() as connection:
        copy_from(connection, f"m5.bare {options}", io.BytesIO(content))
    return time.perf_counter() - begin


def text_rows(rows: SeriesRows) -> bytes:
    """Return the rows in COPY's default text format, as `SeriesRows.stream` returns them in the binary one."""
    dates = rows.values["date"].astype("datetime64[D]")
    columns = {name: pa.array(dates if name == "date" else value) for name, value in rows.values.items()}
    week, series_id = pa.array([WEEK] * len(rows)), pa.array((rows.codes + 1).astype(np.int32))
    buffer = io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t")
    pyarrow.csv.write_csv(pa.table({"week": week, "series_id": series_id, **columns}), buffer, options)
    return buffer.getvalue()


def main() -> None:
    """Measure all variants and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--series", type=int, default=30_490)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    table = week_of(options.series)
    rows = SeriesRows.of(schema.forecast, table)
    content = rows.stream(WEEK, np.arange(1, options.series + 1, dtype=np.int32)).read()
    with tempfile.TemporaryDirectory(prefix="m5-benchmark-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        try:
            engine = create_engine(server.ensure_running())
            migrate.upgrade(engine)
            load_series(engine, schema.forecast, WEEK, [table], "first")  # assigns the series' numbers
            columns = ", ".join(rows.columns)
            binary = (f"({columns}) FROM STDIN (FORMAT binary)", content)
            plain = (f"({columns}) FROM STDIN", text_rows(rows))
            runs: dict[str, Callable[[], float]] = {
                "bare COPY, binary, same key": lambda: bare_copy(
                    engine, *binary, ", PRIMARY KEY (series_id, date, week)"
                ),
                "bare COPY, text, no key": lambda: bare_copy(engine, *plain),
                "bare COPY, binary, no key": lambda: bare_copy(engine, *binary),
                "load": lambda: timed_load(engine, table),
            }
            seconds: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(options.rounds):
                for name, run in runs.items():
                    seconds[name].append(run())
        finally:
            server.stop()
    print(f"{len(rows):,} rows, {len(content) / 1e6:.0f} MB in binary, medians of {options.rounds} rounds")
    load = statistics.median(seconds["load"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        compared = "" if name == "load" else f"   load / this: {middle / load:.0%}"
        print(f"  {name:<28} {middle:5.2f} s {len(rows) / middle:>10,.0f} rows/s{compared}")


def timed_load(engine: Engine, table: pa.Table) -> float:
    """Return the seconds of a complete load."""
    begin = time.perf_counter()
    load_series(engine, schema.forecast, WEEK, [table], "benchmark")
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
