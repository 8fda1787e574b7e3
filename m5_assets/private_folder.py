"""Folders that only their owner may enter: the platform's home, with the sales, the models and the secrets."""

from __future__ import annotations

import stat
from pathlib import Path


def private_folder(path: Path) -> None:
    """Create a folder that only its owner may enter; an existing one keeps its mode, `m5 doctor` reports an open one.

    Whatever lies in it is private too, so what is created there needs no mode of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def is_open(path: Path) -> bool:
    """Return whether accounts other than the owner may list a folder or open what is in it.

    A group that may enter but not list is no opening: a PostgreSQL that runs under an account of its own needs that.
    """
    mode = path.stat().st_mode
    return bool(mode & (stat.S_IRWXO | stat.S_IRGRP | stat.S_IWGRP))
