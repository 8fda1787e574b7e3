"""The error for an invalid landing file, and how messages show what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from m5_assets.errors import UserError

ROWS_NAMED = 5
"""How many bad rows a message names; the rest are only counted."""

EXPORT_AGAIN = "Copy or export the file again."
_LONGEST_SHOWN = 50


class BadInput(UserError):
    """An invalid landing file; the message names the file, the rows or columns, and the remedy.

    Args:
        file: the file, by the path its owner knows.
        problem: what is wrong.
        remedy: what the file's owner can do, as a sentence.
        rows: the bad rows, each by line number and key; may be a generator.
    """

    def __init__(self, file: object, problem: str, remedy: str, rows: Iterable[str] = ()) -> None:
        remaining = iter(rows)
        named = list(islice(remaining, ROWS_NAMED))
        count = len(named) + sum(1 for _ in remaining)
        text = f"{file}: {problem}"
        if named:
            more = f"; and {count - len(named):,} more" if count > len(named) else ""
            text += f" ({count:,} {'row' if count == 1 else 'rows'}): {'; '.join(named)}{more}"
        super().__init__(f"{text}. {remedy}")


def row_name(line: int, *key: str) -> str:
    """Return a row's name for messages: its line and key."""
    return f"line {line:,} ({', '.join(map(shown, key))})"


def shown(text: str) -> str:
    """Return a cell as a message shows it: quoted if it would be misread, and cut if it is long."""
    plain = text.isprintable() and text == text.strip()
    cut = text[:_LONGEST_SHOWN]
    return (cut if plain else repr(cut)) + ("…" if cut != text else "")


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - ROWS_NAMED} more" if len(names) > ROWS_NAMED else ""
    return ", ".join(map(shown, names[:ROWS_NAMED])) + more
