"""Names of the files that belong to one store or department: its id, with all unusual characters quoted.

Any id that may be landed (`m5_assets.resources.landing_files.ids`) is usable on file systems, in S3 keys and in URIs.
"""

from __future__ import annotations

import re

_UNUSUAL = re.compile(rb"[^A-Za-z0-9_-]")
_QUOTED = re.compile(rb"!([0-9A-F]{2})")


def file_name(key: str) -> str:
    """Return a file name without suffix for an id.

    ASCII letters, digits, `_` and `-` stay; every other byte of its UTF-8 becomes `!` and two hexadecimal digits.
    """
    return _UNUSUAL.sub(lambda found: b"!%02X" % found[0][0], key.encode()).decode()


def key_of(name: str) -> str:
    """Return the id for which `file_name` returns this name."""
    return _QUOTED.sub(lambda found: bytes.fromhex(found[1].decode()), name.encode()).decode()
