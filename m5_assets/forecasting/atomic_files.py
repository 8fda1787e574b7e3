"""Writes files that appear complete or not at all."""

from __future__ import annotations

from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it to `path`."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
