"""COPY: rows into a PostgreSQL table the fast way. Not here: what the rows are (`rows`) and transactions (`load`)."""

from __future__ import annotations

import io
from typing import cast

import psycopg2
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_BUFFER = 1 << 20


def copy_from(connection: Connection, target: str, rows: io.RawIOBase | io.BytesIO) -> None:
    """Send a file's rows: `COPY target FROM STDIN ...`, with the options at the end of `target`.

    Raises:
        sqlalchemy.exc.DBAPIError: as for any other statement.
    """
    statement = f"COPY {target}"
    try:
        cursor(connection).copy_expert(statement, rows, _BUFFER)
    except psycopg2.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg2.Error) from error


def copy_csv(connection: Connection, table: str, rows: pa.Table) -> None:
    """Send an Arrow table's rows to the columns of the same names; its nulls are PostgreSQL's."""
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False))
    buffer.seek(0)
    copy_from(connection, f"{table} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)", buffer)


def cursor(connection: Connection) -> psycopg2.extensions.cursor:
    """Return the driver's cursor: COPY is not in Python's database API."""
    return cast(psycopg2.extensions.cursor, connection.connection.cursor())
