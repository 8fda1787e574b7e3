"""Errors that users can fix; the command line prints them on one line, without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """An error that users can fix; the message gives the cause and the remedy."""


class Cancelled(Exception):
    """The user cancelled the work; the message says what was cancelled and how to resume it."""
