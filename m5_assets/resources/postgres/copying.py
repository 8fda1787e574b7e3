"""Bulk transfer of rows into and out of PostgreSQL with COPY."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from typing import IO, cast

import psycopg2
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

_BUFFER = 1 << 20


def copy_from(connection: Connection, target: str, rows: io.RawIOBase | io.BytesIO) -> None:
    """Run `COPY target` with a file as its input; `target` includes `FROM STDIN` and the options.

    Raises:
        sqlalchemy.exc.DBAPIError: as for any other statement.
    """
    _copy(connection, f"COPY {target}", rows)


def copy_csv(connection: Connection, table: str, rows: pa.Table) -> None:
    """Write an Arrow table's rows to the columns with the same names; nulls stay nulls."""
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False))
    buffer.seek(0)
    copy_from(connection, f"{table} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)", buffer)


def read_csv(connection: Connection, query: str, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return the rows of a query as an Arrow table with these column names and types."""
    with tempfile.TemporaryFile() as file:
        _copy(connection, f"COPY ({query}) TO STDOUT (FORMAT csv)", file)
        if not file.tell():
            return pa.schema(types.items()).empty_table()
        file.seek(0)
        return pyarrow.csv.read_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(column_names=list(types)),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict(types)),
        )


def _copy(connection: Connection, statement: str, file: IO[bytes] | io.RawIOBase) -> None:
    cursor = cast(psycopg2.extensions.cursor, connection.connection.cursor())
    try:
        cursor.copy_expert(statement, file, _BUFFER)  # DB-API has no method for COPY
    except psycopg2.Error as error:
        if cursor.connection.closed:
            connection.invalidate(error)  # as SQLAlchemy does for its own statements: a rollback is impossible
            raise OperationalError(statement, None, error) from error
        raise DBAPIError.instance(statement, None, error, psycopg2.Error) from error
