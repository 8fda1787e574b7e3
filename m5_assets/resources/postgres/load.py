"""Load a week's results into PostgreSQL, and read forecasts back.

A load is one transaction: readers see a table's old week or its new week, a failed or killed load leaves the old one,
and loads of the same week wait for each other.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sqlalchemy import (
    REAL,
    Connection,
    Date,
    Double,
    Engine,
    Integer,
    SmallInteger,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    text,
)

from m5_assets.errors import UserError
from m5_assets.resources.postgres import schema
from m5_assets.resources.postgres.copying import copy_csv, copy_from, read_csv
from m5_assets.resources.postgres.load_rows import SERIES_COLUMNS, SeriesRows, check_columns
from m5_assets.resources.postgres.partition_swap import new_partition
from m5_assets.resources.postgres.roles import act_as_owner
from m5_assets.resources.postgres.series import upsert_series, upsert_stores

_log = logging.getLogger(__name__)

_ARROW = {
    REAL: pa.float32(),
    Double: pa.float64(),
    Integer: pa.int32(),
    SmallInteger: pa.int16(),
    Date: pa.date32(),
    Text: pa.string(),
}


@dataclass(frozen=True)
class LoadResult:
    """What a load wrote: the number of rows and the hash of their content."""

    rows: int
    sha256: str


class Contradiction(UserError):
    """Totals that differ from the sums of the item sales."""


def load_series(engine: Engine, target: Table, week: dt.date, tables: Iterable[pa.Table], run_id: str) -> LoadResult:
    """Replace a week of a table of series: `schema.sales`, `schema.forecast` or `schema.series_outlook`.

    The rows come in parts, for example one per store, and only one part is in memory at a time. New series get the next
    numbers, by part, store and item; known ones keep theirs. On any error, nothing is changed.

    Args:
        engine: engine of a database upgraded by `migrate.upgrade`.
        target: the table.
        week: first day of the week.
        tables: the parts, iterated twice, each with complete series: the string columns item_id, dept_id, cat_id,
            store_id and state_id, and the target's columns except week and series_id, with rows in any order.
        run_id: the Dagster run, for the load log.

    Raises:
        ValueError: if there are no parts or a part has invalid rows, see `SeriesRows.of`.
        NotAWriter: if the connecting user may not load.
        sqlalchemy.exc.IntegrityError: if two parts contain the same series.
        sqlalchemy.exc.OperationalError: if the server went away or a reader held the table for more than a minute.
    """
    with _load(engine, target, week, run_id) as load:
        # Series come first: a load that waits for the lock on series must not hold one on the table (deadlock).
        numbers = [upsert_series(load.connection, SeriesRows.of(target, table).series) for table in tables]
        if not numbers:
            raise ValueError(f"{target.name}, week {week}: no rows")
        with new_partition(load.connection, target, week) as new:
            for table, series_id in zip(tables, numbers, strict=True):
                rows = SeriesRows.of(target, table)
                columns = f"({', '.join(rows.columns)})"
                stream = rows.stream(week, series_id)
                copy_from(load.connection, f"{new} {columns} FROM STDIN (FORMAT binary, FREEZE)", stream)
                load.add(len(rows), rows.sha256())
    return load.result


def load_week(engine: Engine, target: Table, week: dt.date, table: pa.Table, run_id: str) -> LoadResult:
    """Replace a week of a table without series: accuracy, aggregate_accuracy or store_dept_forecast.

    On any error, nothing is changed.

    Args:
        engine: engine of a database upgraded by `migrate.upgrade`.
        target: the table.
        week: first day of the week.
        table: the target's columns except week, with rows in any order; other columns are ignored.
        run_id: the Dagster run, for the load log.

    Raises:
        ValueError: if there are no rows, or a column or value is missing.
        NotAWriter: if the connecting user may not load.
        sqlalchemy.exc.IntegrityError: if a row is duplicate, refers to an unknown store or violates a constraint.
    """
    rows = _rows(target, table.append_column("week", pa.array([week] * table.num_rows, pa.date32())))
    with _load(engine, target, week, run_id) as load:
        connection = load.connection
        load.add(rows.num_rows, _sha256(rows))
        if target.dialect_options["postgresql"]["partition_by"]:
            with new_partition(connection, target, week) as new:
                copy_csv(connection, new, rows)
        else:
            connection.execute(delete(target).where(target.c.week == week))
            copy_csv(connection, str(target), rows)
    return load.result


def load_store_dept_sales(engine: Engine, week: dt.date, table: pa.Table, run_id: str) -> LoadResult:
    """Replace a week's seven days in the history of store-department totals. On any error, nothing is changed.

    Args:
        engine: engine of a database upgraded by `migrate.upgrade`.
        week: first day of the week.
        table: store_id, state_id, dept_id, date and units, with rows in any order.
        run_id: the Dagster run, for the load log.

    Raises:
        ValueError: if there are no rows, a column or value is missing, or days are outside the week.
        Contradiction: if the totals differ from the sums of the table `sales`.
        NotAWriter: if the connecting user may not load.
    """
    target = schema.store_dept_sales
    rows = _rows(target, table)
    days = pc.min_max(rows["date"]).as_py()
    last = week + dt.timedelta(days=6)
    if days["min"] < week or days["max"] > last:
        raise ValueError(f"{target.name}: rows from {days['min']} to {days['max']} are outside the week {week}")
    with _load(engine, target, week, run_id) as load:
        connection = load.connection
        load.add(rows.num_rows, _sha256(rows))
        upsert_stores(connection, table)
        connection.execute(delete(target).where(target.c.date.between(week, last)))
        copy_csv(connection, str(target), rows)
        _compare_with_sales(connection, week)
    return load.result


def load_calendar(engine: Engine, calendar: pa.Table, snap: pa.Table, run_id: str) -> list[LoadResult]:
    """Replace the whole calendar and all SNAP days in one transaction. On any error, nothing is changed.

    Args:
        engine: engine of a database upgraded by `migrate.upgrade`.
        calendar: the columns of `schema.calendar`.
        snap: the columns of `schema.snap`.
        run_id: the Dagster run, for the load log.

    Raises:
        ValueError: if there are no rows, or a column or value is missing.
        NotAWriter: if the connecting user may not load.
        sqlalchemy.exc.IntegrityError: if a day is duplicate, or a SNAP day is not in the calendar.
    """
    rows = {schema.calendar: _rows(schema.calendar, calendar), schema.snap: _rows(schema.snap, snap)}
    begin = time.monotonic()
    results = [LoadResult(part.num_rows, _sha256(part)) for part in rows.values()]
    with engine.begin() as connection:
        act_as_owner(connection)
        _one_at_a_time(connection, schema.calendar, None)
        for target in reversed(rows):
            connection.execute(delete(target))
        for (target, part), result in zip(rows.items(), results, strict=True):
            copy_csv(connection, str(target), part)
            _log_load(connection, target, None, result, run_id)
    _log.info("calendar and snap: loaded in %.1f s", time.monotonic() - begin)
    return results


def loaded_weeks(engine: Engine, target: Table) -> set[dt.date]:
    """Return the weeks that have been loaded into a table."""
    query = select(schema.load_log.c.week).where(schema.load_log.c.table_name == target.name).distinct()
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())


def read_forecast(engine: Engine, week: dt.date) -> pa.Table:
    """Return a week's forecasts, sorted by store, item and date, with the columns that `load_series` takes.

    Raises:
        LookupError: if the week has not been loaded.
    """
    models = [column.name for column in schema.forecast.columns if isinstance(column.type, REAL)]
    types = {name: pa.string() for name in SERIES_COLUMNS} | {"date": pa.date32()}
    types |= {name: pa.float32() for name in models}
    query = (
        f"SELECT {', '.join(types)} FROM {schema.forecast} JOIN m5.series_hierarchy USING (series_id) "  # noqa: S608  # our own names and a date
        f'WHERE week = \'{week}\' ORDER BY store_id COLLATE "C", item_id COLLATE "C", date'
    )
    with engine.connect() as connection:
        rows = read_csv(connection, query, types)
    if not rows.num_rows:
        raise LookupError(f"the database has no forecast of week {week}; load it first")
    return rows


@dataclass
class _Load:
    """A load in progress: its transaction and what it has written so far."""

    connection: Connection
    rows: int = 0
    hashes: list[str] = field(default_factory=list)

    def add(self, rows: int, sha256: str) -> None:
        """Record a written part."""
        self.rows += rows
        self.hashes.append(sha256)

    @property
    def result(self) -> LoadResult:
        """The result so far."""
        return LoadResult(self.rows, hashlib.sha256("".join(self.hashes).encode()).hexdigest())


@contextmanager
def _load(engine: Engine, target: Table, week: dt.date, run_id: str) -> Iterator[_Load]:
    """Yield the transaction of one load and log the load in it."""
    begin = time.monotonic()
    with engine.begin() as connection:
        act_as_owner(connection)
        _one_at_a_time(connection, target, week)
        load = _Load(connection)
        yield load
        _log_load(connection, target, week, load.result, run_id)
    _log.info("%s %s: %d rows loaded in %.1f s", target.name, week, load.rows, time.monotonic() - begin)


def _one_at_a_time(connection: Connection, target: Table, week: dt.date | None) -> None:
    """Wait until no other transaction loads this week into this table."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"{target} {week}"))))


def _log_load(connection: Connection, target: Table, week: dt.date | None, result: LoadResult, run_id: str) -> None:
    values = {"week": week, "table_name": target.name, "rows": result.rows, "sha256": result.sha256, "run_id": run_id}
    connection.execute(insert(schema.load_log).values(values))


def _compare_with_sales(connection: Connection, week: dt.date) -> None:
    query = text(
        "WITH summed AS (SELECT store_id, dept_id, date, sum(units) AS units FROM m5.sales JOIN m5.series_hierarchy "
        "USING (series_id) WHERE week = :week GROUP BY 1, 2, 3) "
        "SELECT store_id, dept_id, date, t.units, s.units, count(*) OVER () FROM summed s "
        "LEFT JOIN m5.store_dept_sales t USING (store_id, dept_id, date) WHERE s.units IS DISTINCT FROM t.units "
        "ORDER BY 1, 2, 3 LIMIT 1"
    )
    wrong = connection.execute(query, {"week": week}).one_or_none()
    if wrong is not None:
        store, dept, day, total, summed, count = wrong
        raise Contradiction(
            f"store_dept_sales, week {week}: {count} totals differ from the sums of table sales, first {store}, "
            f"{dept}, {day}: total {'missing' if total is None else total}, sum {summed}; load both again from the "
            "same landed files, rds_sales first"
        )


def _rows(target: Table, table: pa.Table) -> pa.Table:
    """Return the target's columns in its types, with sorted rows and NaN as null.

    Raises:
        ValueError: if there are no rows, or a column or value is missing.
    """
    check_columns(target, table, [column.name for column in target.columns])
    columns = {}
    for column in target.columns:
        values = table[column.name].cast(_ARROW[type(column.type)])
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        if values.null_count and (not column.nullable or column.name in target.info.get("required", ())):
            raise ValueError(f"{target.name}: {values.null_count} rows have no {column.name}")
        columns[column.name] = values
    rows = pa.table(columns)
    return rows.sort_by([(name, "ascending") for name in rows.column_names]).combine_chunks()


def _sha256(rows: pa.Table) -> str:
    """Return a hash of the rows' content."""
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()
