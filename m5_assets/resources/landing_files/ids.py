"""What an id may hold, so that it works as a key, in file names, in links and on every page."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from m5_assets.resources.landing_files.bad_input import BadInput, row_name, shown
from m5_assets.resources.landing_files.csv_file import LandingFile

LONGEST = 64
"""Bytes of UTF-8 in an id; quoted in a file name, each may become three."""
LONGEST_ITEM = 128
"""Bytes of UTF-8 in an item_id or an event, which occur in no file name."""

REMEDY = (
    "An id may hold letters, digits, signs and blanks within it, but no slash, backslash or invisible character, "
    f"and at most {LONGEST} bytes of UTF-8 (item_id: {LONGEST_ITEM}). Correct it in all files."
)
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")
_OTHER_INVISIBLE = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)]
)
"""Fillers and variation selectors, which have the category of a letter or of an accent."""


def id_fault(name: str, longest: int = LONGEST, *, slashes: bool = False) -> str | None:
    """Return what is wrong with an id as the end of a sentence, or None.

    Args:
        name: the id, not empty.
        longest: most bytes of UTF-8.
        slashes: whether slashes and backslashes are allowed.
    """
    if name != name.strip():
        return "begins or ends with a blank"
    if not name.isascii() or not name.isprintable():
        for letter in name:
            hidden = unicodedata.category(letter) in _INVISIBLE_CATEGORIES and letter != " "
            if hidden or ord(letter) in _OTHER_INVISIBLE:
                kind = unicodedata.name(letter, "a control character").lower()
                return f"holds U+{ord(letter):04X}, {kind}"
        if "\ufffd" in name:
            return "holds U+FFFD, the sign for a character that was lost in a wrong encoding"
        if not unicodedata.is_normalized("NFC", name):
            return "has accents as separate characters; write it in Unicode's composed form (NFC)"
    if not slashes and ("/" in name or "\\" in name):
        return "holds a slash or backslash"
    length = len(name.encode())
    return f"has {length} bytes, more than {longest}" if length > longest else None


def check_ids(
    file: LandingFile,
    column: str,
    names: Sequence[str],
    codes: npt.NDArray[np.integer],
    key_of: Callable[[int], Sequence[str]],
) -> None:
    """Check a column of ids.

    Args:
        file: the file, for the message.
        column: the column.
        names: the distinct ids.
        codes: each row's position in `names`.
        key_of: returns what names a row in the message.

    Raises:
        BadInput: an id holds what no id may hold.
    """
    longest = LONGEST_ITEM if column == "item_id" else LONGEST
    faults = {place: fault for place, name in enumerate(names) if (fault := id_fault(name, longest))}
    if not faults:
        return
    bad = np.flatnonzero(np.isin(codes, list(faults)))
    rows = (
        f"{row_name(row + 2, *key_of(row))}: {column} {shown(names[codes[row]])} {faults[int(codes[row])]}"
        for row in map(int, bad)
    )
    raise BadInput(file, f"bad values in column {column}", REMEDY, rows)
