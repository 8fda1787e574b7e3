"""Errors that the user can fix; the command line prints them in one line, without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """An error that the user can fix; the message names the cause and the remedy."""
