"""Parameter types shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from m5_assets.weeks import Week


class _WeekType(click.ParamType["Week"]):
    """The first day of a week, as a `Week`."""

    name = "week"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Week:
        from m5_assets.weeks import Week  # loads Dagster

        if isinstance(value, Week):
            return value
        try:
            return Week.parse(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class _ListType(click.ParamType[list[Any]]):
    """Values of one type, separated by commas."""

    def __init__(self, kind: click.ParamType[Any], name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        return [self.kind.convert(part.strip(), param, ctx) for part in str(value).split(",")]


class _OutputFileType(click.ParamType[Path]):
    """A file to be written, which is replaced as a whole; of a link, the file that it leads to."""

    name = "file"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(str(value))
        path = path.resolve() if path.is_symlink() else path
        if not path.name or (path.exists() and not path.is_file()):
            what = "is a directory" if path.is_dir() else "is no regular file"
            self.fail(f"{str(value)!r} {what}; give the name of a file", param, ctx)
        return path


WEEK = _WeekType()
OUTPUT_FILE = _OutputFileType()
PORT = click.IntRange(1, 65_535)


def list_of(kind: click.ParamType[Any], name: str) -> click.ParamType[list[Any]]:
    """Return the type of a comma-separated list, shown as `name` in help texts."""
    return _ListType(kind, name)
