"""Read access to the database: one snapshot per page, as the read-only role.

Also the queries that every page needs (weeks, loads) and the errors for a database with nothing to show. A page's own
queries are in its module.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from m5_assets.resources.postgres.roles import READER
from m5_assets.resources.postgres.server_binaries import PostgresError
from m5_assets.weeks import Week

_STATEMENT_SECONDS = 15
"""Slower queries are cancelled, because they would block a load that is waiting to swap a partition."""

_MISSING = {"3F000", "42P01", "42703", "22023", "42704"}
"""SQLSTATEs of a missing schema, table, column or role: the database is empty or from an older version."""

_GIVEN_UP = {"57014"}
"""SQLSTATE of a cancelled query: the database itself is fine."""


_RUNS_PROGRAMS = text("SELECT pg_has_role(session_user, 'pg_execute_server_program', 'MEMBER')")
"""True of every superuser, too."""


class NoDatabase(RuntimeError):
    """No PostgreSQL responds."""


class SuperuserLogin(NoDatabase):
    """The connection's user may run programs, as superusers may: to act as the reader role would protect nothing."""


class NoTables(RuntimeError):
    """The database responds, but the tables or the reader role do not exist."""


class NoWeek(LookupError):
    """No week has been loaded."""


class NotFound(LookupError):
    """The URL names a week, place or item that is not in the database; the message says what to do."""


@dataclass(frozen=True)
class Load:
    """The newest load of a table for a week."""

    table_name: str
    week: dt.date
    loaded_at: dt.datetime
    rows: int
    run_id: str


class Reader:
    """Queries within one snapshot of the database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def frame(self, query: str, **parameters: Any) -> pd.DataFrame:
        """Return a query's rows; values are bound by name (`:week`)."""
        result = self._connection.execute(text(query), parameters)
        return pd.DataFrame(result.fetchall(), columns=list(result.keys()))

    def bulk(self, query: str, texts: Sequence[str], **parameters: Any) -> pd.DataFrame:
        """Return a large result as `frame` does, through COPY and Arrow, in a fifth of the time.

        Args:
            query: a SELECT whose only colons are those of its parameters.
            texts: the text columns; the types of the others are inferred from their values.
            parameters: values, bound by the driver.
        """
        cursor = self._connection.connection.cursor()
        bound = cursor.mogrify(str(text(query).compile(dialect=self._connection.dialect)), parameters).decode()
        buffer = io.BytesIO()
        cursor.copy_expert(f"COPY ({bound}) TO STDOUT (FORMAT csv, HEADER)", buffer)
        buffer.seek(0)
        types = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in texts})
        frame: pd.DataFrame = pyarrow.csv.read_csv(buffer, convert_options=types).to_pandas()
        return frame

    def value(self, query: str, **parameters: Any) -> Any:
        """Return the first column of the first row, or None without rows."""
        return self._connection.execute(text(query), parameters).scalar()

    def weeks(self) -> list[Week]:
        """Return the forecast weeks, newest first.

        Raises:
            NoWeek: no week has been loaded.
        """
        weeks = self._loaded("series_outlook")
        if not weeks:
            raise NoWeek
        return weeks

    def scored_weeks(self) -> list[Week]:
        """Return the scored weeks, newest first."""
        return self._loaded("accuracy")

    def _loaded(self, table: str) -> list[Week]:
        query = "SELECT DISTINCT week FROM m5.load_log WHERE table_name = :name AND week IS NOT NULL ORDER BY week DESC"
        return [Week(day) for day in self.frame(query, name=table)["week"]]

    def loads(self, week: Week) -> list[Load]:
        """Return the newest load of each table for this week, latest first."""
        found = self.frame(
            "SELECT DISTINCT ON (table_name) table_name, week, loaded_at, rows, run_id FROM m5.load_log "
            "WHERE week = :week ORDER BY table_name, load_id DESC",
            week=week.first_day,
        )
        loads = [Load(**{str(name): value for name, value in row.items()}) for row in found.to_dict("records")]
        return sorted(loads, key=lambda load: load.loaded_at, reverse=True)

    def newest_load(self, week: Week) -> int:
        """Return the number of the week's newest load: results computed from the week are valid until it changes."""
        number = self.value("SELECT max(load_id) FROM m5.load_log WHERE week = :week", week=week.first_day)
        return int(number or 0)


@contextmanager
def reading(engine: Callable[[], Engine]) -> Iterator[Reader]:
    """Open a read-only transaction as the reader role; it does not see loads that finish after it began.

    Raises:
        NoDatabase: if nothing responds or the connection is rejected.
        SuperuserLogin: if the connection's user may run programs, and could leave the reader role again.
        NoTables: if the schema m5 is missing or from an older version, or the role does not exist.
    """
    try:
        with engine().connect() as connection:
            connection.execute(
                text(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
                    "SET LOCAL jit = off; "  # compiling takes longer than any page's query
                    f"SET LOCAL ROLE {READER}; SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'"
                )
            )
            if connection.execute(_RUNS_PROGRAMS).scalar_one():
                raise SuperuserLogin(
                    "M5_DATABASE_URL logs in as a superuser, or as one who may run programs on the server: run "
                    "`m5 migrate` and set M5_DATABASE_READER_PASSWORD, see docs/database.md"
                )
            yield Reader(connection)
    except PostgresError as problem:
        raise NoDatabase(str(problem)) from problem
    except DBAPIError as problem:
        if _state(problem) in _MISSING:
            raise NoTables(str(problem.orig).strip()) from problem
        if isinstance(problem, OperationalError) and _state(problem) not in _GIVEN_UP:
            raise NoDatabase(str(problem.orig).strip()) from problem
        raise


def _state(problem: DBAPIError) -> str:
    return str(getattr(problem.orig, "pgcode", "") or "")
