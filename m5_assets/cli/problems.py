"""Which errors people can fix, in one line each; all others keep their traceback."""

from __future__ import annotations

from m5_assets.errors import UserError

_PERMISSION = "42501"
"""PostgreSQL's code of a missing privilege."""


def in_one_line(problem: Exception) -> str | None:
    """Return what to say of an error that people can fix; None for any other, which is a defect of the program."""
    if isinstance(problem, UserError):
        return str(problem)
    if isinstance(problem, OSError):
        # Without a file it is not of this machine's folders: a connection, a program.
        return f"{problem.filename}: {problem.strerror}" if problem.filename else None
    from dagster import Failure  # only here, because these take a second to load
    from sqlalchemy.exc import DBAPIError, OperationalError

    from m5_assets.resources.postgres.server_binaries import PostgresError

    if isinstance(problem, Failure):
        return problem.description
    if isinstance(problem, PostgresError):
        return str(problem)
    if isinstance(problem, OperationalError):
        cause = str(problem.orig).strip().splitlines()[0]
        return f"the database refuses or does not answer ({cause}): start it, or correct M5_DATABASE_URL"
    if isinstance(problem, DBAPIError) and getattr(problem.orig, "pgcode", None) == _PERMISSION:
        return f"{str(problem.orig).strip().splitlines()[0]}: the user of M5_DATABASE_URL needs this privilege"
    return None
