"""Files that appear whole or not at all. Not here: what is in them."""

from __future__ import annotations

from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its place, then switch."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
