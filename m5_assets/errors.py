"""The one kind of error that a user can mend: said in a line, without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can mend: the message names it and the remedy."""
