"""Replace a week's partition: fill a new table, then swap it for the old partition in the same transaction."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.exc import OperationalError

from m5_assets.resources.postgres.schema import SCHEMA

_log = logging.getLogger(__name__)

_LOCK_SECONDS = 0.5  # new readers queue behind a waiting lock
_PATIENCE_SECONDS = 60


def partition_name(table: Table, week: dt.date) -> str:
    """Return the name of a week's partition, including the schema."""
    return f"{SCHEMA}.{table.name}_{week:%Y_%m_%d}"


@contextmanager
def new_partition(connection: Connection, table: Table, week: dt.date) -> Iterator[str]:
    """Yield a new empty table without a key; on exit, it becomes the week's partition.

    The transaction creates the table, so COPY can use FREEZE: VACUUM need not rewrite the rows, and a reader with an
    older snapshot sees the new week instead of an empty one.

    Args:
        connection: the load's transaction.
        table: the partitioned table.
        week: first day of the partition's week.

    Raises:
        sqlalchemy.exc.OperationalError: if readers held the old partition for more than a minute.
    """
    final = partition_name(table, week)
    new, short = f"{final}_loading", final.removeprefix(f"{SCHEMA}.")
    only = f"{short}_week"
    connection.execute(text(f"CREATE TABLE {new} (LIKE {table} INCLUDING COMMENTS INCLUDING CONSTRAINTS)"))
    # Checked for each row on insert, so that attaching the partition need not scan all of them.
    connection.execute(text(f"ALTER TABLE {new} ADD CONSTRAINT {only} CHECK (week = '{week}' AND week IS NOT NULL)"))
    yield new
    begin = time.monotonic()
    connection.execute(text(f"ALTER TABLE {new} ADD CONSTRAINT {short}_loading_key {_key(table)}"))
    connection.execute(text(f"COMMENT ON TABLE {new} IS 'Week {week} of {table.name}'"))
    _log.info("%s %s: key built in %.1f s; swapping the partition", table.name, week, time.monotonic() - begin)
    if connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": final}).scalar_one():
        _wait_for_readers(connection, table)
        connection.execute(text(f"DROP TABLE {final}"))
    connection.execute(text(f"ALTER TABLE {new} RENAME TO {short}"))
    connection.execute(text(f"ALTER TABLE {final} RENAME CONSTRAINT {short}_loading_key TO {short}_key"))
    connection.execute(text(f"ALTER TABLE {table} ATTACH PARTITION {final} FOR VALUES IN ('{week}')"))
    connection.execute(text(f"ALTER TABLE {final} DROP CONSTRAINT {only}"))


def _key(table: Table) -> str:
    key = next(
        c for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint) and len(c.columns)
    )
    kind = "PRIMARY KEY" if isinstance(key, PrimaryKeyConstraint) else "UNIQUE NULLS NOT DISTINCT"
    return f"{kind} ({', '.join(column.name for column in key.columns)})"


def _wait_for_readers(connection: Connection, table: Table) -> None:
    """Lock the table against readers, in short attempts, so that new readers can pass while a long one holds it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
    while True:
        try:
            with connection.begin_nested():
                connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != "55P03" or time.monotonic() > deadline:  # lock_not_available
                raise
            time.sleep(_LOCK_SECONDS)
        else:
            return
