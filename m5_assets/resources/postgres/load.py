"""A week's results into PostgreSQL and out again.

A load is one transaction. A reader sees a table's old week or its new week, never a part; a load that fails or is
killed leaves the old one; loads of the same week wait for each other. Not here: the tables (`schema`) and the encoding
of rows (`rows`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import logging
import tempfile
import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Connection, Engine, delete, insert, text
from sqlalchemy.schema import CreateTable

from m5_assets.resources.postgres import schema
from m5_assets.resources.postgres.rows import MODEL_COLUMNS, SERIES_COLUMNS, ForecastRows

_log = logging.getLogger(__name__)

_BUFFER = 1 << 20
_SWAP_SECONDS = 60
ACCURACY_COLUMNS = ("model", "level", "wrmsse", "bias")


@dataclass(frozen=True)
class LoadResult:
    """What a load wrote: the week's rows, the hash of their content, and the time it took."""

    rows: int
    sha256: str
    seconds: float


def load_forecast(engine: Engine, week: dt.date, table: pa.Table, run_id: str) -> LoadResult:
    """Replace the forecasts of a week.

    Series that the database does not know get the next numbers, by store and item; known ones keep theirs.

    Args:
        engine: of a database with the tables of `schema.create_all`.
        week: the first day of the forecast week.
        table: the string columns item_id, dept_id, cat_id, store_id and state_id, `date` (date32), and the float
            columns gbm, lstm and ensemble.
        run_id: the Dagster run, for the log of loads.

    Raises:
        ValueError: rows that cannot be loaded, see `ForecastRows.of`; nothing was changed.
        sqlalchemy.exc.OperationalError: the server went away, or a reader held the table for over a minute; nothing
            was changed.
    """
    begin = time.monotonic()
    rows = ForecastRows.of(table)
    sha256 = rows.sha256()
    new, final = schema.partition(week, "_loading"), schema.partition(week)
    with engine.begin() as connection:
        _one_at_a_time(connection, week, schema.forecast.name)
        series_id = _upsert_series(connection, rows.series)
        connection.execute(CreateTable(new))
        # The table is this transaction's own, so rows may be born frozen: no later rewrite by VACUUM, and a reader
        # with an older snapshot sees the new week instead of an empty one.
        _copy(connection, f"{new} FROM STDIN (FORMAT binary, FREEZE)", rows.stream(week, series_id))
        connection.execute(
            text(f"ALTER TABLE {new} ADD CONSTRAINT {new.name}_pkey PRIMARY KEY (week, series_id, date)")
        )
        _log.info("forecast %s: %d rows copied in %.1f s; exchanging", week, len(rows), time.monotonic() - begin)
        _log_load(connection, week, schema.forecast.name, len(rows), sha256, run_id)
        connection.execute(text(f"SET LOCAL lock_timeout = '{_SWAP_SECONDS}s'"))  # readers queue behind this wait
        connection.execute(text(f"DROP TABLE IF EXISTS {final}"))
        connection.execute(text(f"ALTER TABLE {new} RENAME TO {final.name}"))
        connection.execute(text(f"ALTER INDEX {schema.SCHEMA}.{new.name}_pkey RENAME TO {final.name}_pkey"))
        connection.execute(text(f"ALTER TABLE {schema.forecast} ATTACH PARTITION {final} FOR VALUES IN ('{week}')"))
    result = LoadResult(len(rows), sha256, time.monotonic() - begin)
    _log.info("forecast %s: %d rows loaded in %.1f s", week, result.rows, result.seconds)
    return result


def load_accuracy(engine: Engine, week: dt.date, frame: pd.DataFrame, run_id: str) -> LoadResult:
    """Replace the accuracy of a week's forecasts.

    Args:
        engine: of a database with the tables of `schema.create_all`.
        week: the first day of the forecast week.
        frame: a row for each model and level with the columns of `ACCURACY_COLUMNS`, see the table's comments.
        run_id: the Dagster run, for the log of loads.

    Raises:
        ValueError: no rows, or a missing column; nothing was changed.
        sqlalchemy.exc.IntegrityError: a model's level that appears twice or lies outside 0 to 12, or a missing
            wrmsse; nothing was changed.
    """
    begin = time.monotonic()
    missing = [name for name in ACCURACY_COLUMNS if name not in frame.columns]
    if missing or frame.empty:
        raise ValueError(f"accuracy: {len(frame)} rows, missing columns {missing}")
    ordered = frame[list(ACCURACY_COLUMNS)].sort_values(["model", "level"])
    records: list[dict[Any, Any]] = [
        {name: None if pd.isna(value) else value for name, value in record.items()}
        for record in ordered.to_dict(orient="records")
    ]
    sha256 = hashlib.sha256(repr([tuple(record.values()) for record in records]).encode()).hexdigest()
    with engine.begin() as connection:
        _one_at_a_time(connection, week, schema.accuracy.name)
        connection.execute(delete(schema.accuracy).where(schema.accuracy.c.week == week))
        connection.execute(insert(schema.accuracy), [{"week": week} | record for record in records])
        _log_load(connection, week, schema.accuracy.name, len(records), sha256, run_id)
    return LoadResult(len(records), sha256, time.monotonic() - begin)


def read_forecast(engine: Engine, week: dt.date) -> pa.Table:
    """Return a week's forecasts with the columns that `load_forecast` takes, by store, item and date.

    Raises:
        LookupError: the week was never loaded.
    """
    columns = ", ".join((*(f"s.{name}" for name in SERIES_COLUMNS), "f.date", *(f"f.{name}" for name in MODEL_COLUMNS)))
    query = (
        f"SELECT {columns} FROM {schema.forecast} f JOIN {schema.series} s USING (series_id) WHERE f.week = '{week}' "  # noqa: S608  # our own names and a date
        'ORDER BY s.store_id COLLATE "C", s.item_id COLLATE "C", f.date'
    )
    types = {name: pa.string() for name in SERIES_COLUMNS} | {"date": pa.date32()}
    types |= {name: pa.float32() for name in MODEL_COLUMNS}
    with tempfile.TemporaryFile() as file:
        with engine.connect() as connection:
            _cursor(connection).copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv)", file, _BUFFER)
        if not file.tell():
            raise LookupError(f"no forecast of week {week} in the database; load it first")
        file.seek(0)
        return pyarrow.csv.read_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(column_names=list(types)),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )


def _upsert_series(connection: Connection, series: pa.Table) -> npt.NDArray[np.int32]:
    """Write S series that are new or changed; return (S,) their numbers."""
    connection.execute(
        text(
            "CREATE TEMPORARY TABLE incoming (position int, item_id text, dept_id text, cat_id text, store_id text, "
            "state_id text) ON COMMIT DROP"
        )
    )
    buffer = io.BytesIO()
    numbered = series.add_column(0, "position", pa.array(np.arange(len(series), dtype=np.int32)))
    pyarrow.csv.write_csv(numbered, buffer, pyarrow.csv.WriteOptions(include_header=False))
    buffer.seek(0)
    _copy(connection, "incoming FROM STDIN (FORMAT csv)", buffer)
    same = "s.item_id = i.item_id AND s.store_id = i.store_id"
    unknown = f"FROM incoming i WHERE NOT EXISTS (SELECT FROM {schema.series} s WHERE {same})"
    if connection.execute(text(f"SELECT EXISTS (SELECT {unknown})")).scalar_one():
        connection.execute(text(f"LOCK TABLE {schema.series} IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(
            text(
                f"INSERT INTO {schema.series} (series_id, item_id, dept_id, cat_id, store_id, state_id) "  # noqa: S608  # our own names
                f"SELECT (SELECT coalesce(max(series_id), 0) FROM {schema.series}) + row_number() OVER (ORDER BY "
                f"position), item_id, dept_id, cat_id, store_id, state_id {unknown}"
            )
        )
    connection.execute(
        text(
            f"UPDATE {schema.series} s SET dept_id = i.dept_id, cat_id = i.cat_id, state_id = i.state_id "  # noqa: S608  # our own names
            f"FROM incoming i WHERE {same} AND (s.dept_id, s.cat_id, s.state_id) <> (i.dept_id, i.cat_id, i.state_id)"
        )
    )
    query = f"SELECT s.series_id FROM incoming i JOIN {schema.series} s ON {same} ORDER BY i.position"  # noqa: S608  # our own names
    return np.fromiter(connection.execute(text(query)).scalars(), dtype=np.int32, count=len(series))


def _one_at_a_time(connection: Connection, week: dt.date, table: str) -> None:
    """Wait until no other transaction loads this week into this table."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"{schema.SCHEMA} {table} {week}"})


def _log_load(connection: Connection, week: dt.date, table: str, rows: int, sha256: str, run_id: str) -> None:
    values = {"week": week, "table_name": table, "rows": rows, "sha256": sha256, "run_id": run_id}
    connection.execute(insert(schema.load_log).values(values))


def _copy(connection: Connection, target: str, rows: io.RawIOBase | io.BytesIO) -> None:
    _cursor(connection).copy_expert(f"COPY {target}", rows, _BUFFER)


def _cursor(connection: Connection) -> psycopg2.extensions.cursor:
    return cast(psycopg2.extensions.cursor, connection.connection.cursor())  # COPY is not in Python's database API
