"""What all landing files share: finding them, reading CSV, and reporting invalid rows.

Each file's own rules are in its `*_file` module.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from re import DOTALL, Pattern
from re import compile as pattern

import pyarrow as pa
import pyarrow.csv as pa_csv
from pyarrow import fs

from m5_assets.errors import UserError

ROWS_NAMED = 5
"""How many bad rows a message names; the rest are only counted."""

_EXPORT_AGAIN = "Copy or export the file again."
_NOT_EMPTY = pattern(r".+", DOTALL)
_BLOCK_BYTES = 8 << 20


class BadInput(UserError):
    """An invalid landing file; the message names the file, the rows or columns, and the remedy.

    Args:
        file: the file, by the path its owner knows.
        problem: what is wrong.
        remedy: what the file's owner can do, as a sentence.
        rows: the bad rows, each by line number and key; may be a generator.
    """

    def __init__(self, file: LandingFile | str, problem: str, remedy: str, rows: Iterable[str] = ()) -> None:
        remaining = iter(rows)
        named = list(islice(remaining, ROWS_NAMED))
        count = len(named) + sum(1 for _ in remaining)
        text = f"{file}: {problem}"
        if named:
            more = f"; and {count - len(named):,} more" if count > len(named) else ""
            text += f" ({count:,} {'row' if count == 1 else 'rows'}): {'; '.join(named)}{more}"
        super().__init__(f"{text}. {remedy}")


@dataclass(frozen=True)
class Folder:
    """A folder on the local file system or S3."""

    filesystem: fs.FileSystem
    path: str
    label: str

    @classmethod
    def at(cls, root: str) -> Folder:
        """Return the folder at a local path or at `s3://bucket/prefix`."""
        if not root.startswith("s3://"):
            path = str(Path(root).expanduser().absolute())
            return cls(fs.LocalFileSystem(), path, path)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        path = root.removeprefix("s3://").rstrip("/")
        return cls(fs.S3FileSystem(endpoint_override=endpoint, region=region), path, root.rstrip("/"))

    def file(self, name: str) -> LandingFile:
        """Return the file with this name.

        Raises:
            BadInput: if it does not exist.
        """
        return self.first([name])

    def find(self, name: str) -> LandingFile | None:
        """Return the file with this name, or None if it does not exist."""
        path = f"{self.path}/{name}"
        exists = self.filesystem.get_file_info(path).type == fs.FileType.File
        return LandingFile(self.filesystem, path, f"{self.label}/{name}") if exists else None

    def first(self, names: Sequence[str]) -> LandingFile:
        """Return the first of these files that exists.

        Raises:
            BadInput: if none exists.
        """
        for name in names:
            if found := self.find(name):
                return found
        others = "".join(f" (or {name})" for name in names[1:])
        raise BadInput(
            f"{self.label}/{names[0]}{others}",
            "missing file",
            "Copy it there or point M5_LANDING at the folder with Kaggle's M5 files; `m5 sample` generates a folder.",
        )


@dataclass(frozen=True)
class LandingFile:
    """One file of the folder; CSV files are UTF-8 with a header, no blank lines and a final line break."""

    filesystem: fs.FileSystem
    path: str
    label: str

    def __str__(self) -> str:
        return self.label

    def stamp(self) -> tuple[int, int]:
        """Return size in bytes and modification time in ns."""
        info = self.filesystem.get_file_info(self.path)
        return info.size, info.mtime_ns

    def content(self) -> bytes:
        """Return the file's bytes; for small files."""
        with self._open() as source:
            return bytes(source.read())

    def header(self) -> list[str]:
        """Return the column names; reads only the first line."""
        with self._open() as source:
            line = io.BufferedReader(source).readline()
        if not line.strip():
            raise BadInput(self, "line 1 is blank; expected a header" if line else "the file is empty", _EXPORT_AGAIN)
        try:
            names = next(csv.reader([line.decode("utf-8-sig")]))
        except (UnicodeDecodeError, csv.Error) as error:
            problem = f"line 1 (the header) is not UTF-8 CSV ({error})"
            raise BadInput(self, problem, "Export the file as CSV in UTF-8.") from None
        repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise BadInput(self, f"duplicate columns: {_listed(repeated)}", "Remove the duplicates.")
        return names

    def check_columns(self, found: Sequence[str], expected: Sequence[str]) -> None:
        """Check that a header has exactly the expected columns, in any order.

        Raises:
            BadInput: if a column is missing or unknown.
        """
        missing = [name for name in expected if name not in found]
        unknown = [name for name in found if name not in expected]
        if missing or unknown:
            parts = [f"missing columns: {_listed(missing)}"] * bool(missing)
            parts += [f"unknown columns: {_listed(unknown)}"] * bool(unknown)
            raise BadInput(self, "; ".join(parts), f"The file must have these columns: {', '.join(expected)}.")

    def batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in blocks with these column types; an empty cell is null.

        Raises:
            pa.ArrowInvalid: if a cell does not match its column's type or a row is malformed; `refuse_rows` finds it.
        """
        self._check_last_line()
        with self._open() as source:
            yield from pa_csv.open_csv(
                source,
                read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pa_csv.ParseOptions(ignore_empty_lines=False),
                convert_options=_conversion(types),
            )

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """Return all rows as `batches` does, read on all cores."""
        self._check_last_line()
        with self._open() as source:
            return pa_csv.read_csv(
                source,
                read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pa_csv.ParseOptions(ignore_empty_lines=False),
                convert_options=_conversion(types),
            )

    def refuse_rows(
        self, patterns: Mapping[str, Pattern[str]], keys: Sequence[str], cause: str, remedy: str
    ) -> BadInput:
        """Return the error for a file that does not parse as typed columns, naming the rows at fault.

        Reads the file again line by line, which is slow but only happens on failure.

        Args:
            patterns: patterns that the cells of these columns must match; cells of the others must not be empty.
            keys: the columns that identify a row.
            cause: the CSV reader's message, used if no single row is at fault.
            remedy: what the file's owner can do, as a sentence.
        """
        rows = self._broken_rows(patterns, keys)
        first = next(rows, None)
        if first is None:
            return BadInput(self, f"cannot be read as CSV ({cause})", _EXPORT_AGAIN)
        return BadInput(self, "bad values", remedy, chain([first], rows))

    def _broken_rows(self, patterns: Mapping[str, Pattern[str]], keys: Sequence[str]) -> Iterator[str]:
        with self._open() as source:
            # An undecodable byte becomes a lone surrogate, so the message can name its row.
            text = io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline="")
            lines = csv.reader(text)
            header = next(lines)
            checks = [patterns.get(name) for name in header]
            try:
                for cells in lines:
                    fault = _fault(header, checks, cells)
                    if fault:
                        key = [cells[header.index(name)] for name in keys] if len(cells) == len(header) else cells[:1]
                        yield f"{row_name(lines.line_num, *key)}: {fault}".encode(errors="replace").decode()
            except csv.Error as error:  # an unclosed quote or a lone carriage return: the rest cannot be parsed
                yield f"line {lines.line_num:,}: {error}"

    def _check_last_line(self) -> None:
        with self._open() as source:
            source.seek(max(source.size() - 1, 0))
            if source.read(1) != b"\n":
                raise BadInput(self, "truncated: the last line has no line break", _EXPORT_AGAIN)

    def _open(self) -> pa.NativeFile:
        try:
            return self.filesystem.open_input_file(self.path)
        except PermissionError:
            raise BadInput(self, "permission denied", "Give this account read access.") from None


def row_name(line: int, *key: str) -> str:
    """Return a row's name for messages: its line and key."""
    return f"line {line:,} ({', '.join(key)})"


def _conversion(types: Mapping[str, pa.DataType]) -> pa_csv.ConvertOptions:
    # Only an empty cell is null; Arrow's default also accepts "NA", "null" and others.
    return pa_csv.ConvertOptions(column_types=dict(types), null_values=[""], strings_can_be_null=True)


def _fault(header: list[str], checks: list[Pattern[str] | None], cells: list[str]) -> str | None:
    if len(cells) != len(header):
        return f"{len(cells)} cells, expected {len(header)}"
    for name, check, cell in zip(header, checks, cells, strict=True):
        if not cell.isascii() and _undecodable(cell):
            return f"{name} is not UTF-8 text"
        if not (check or _NOT_EMPTY).fullmatch(cell):
            return f"{name} is {cell!r}" if cell else f"{name} is empty"
    return None


def _undecodable(cell: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in cell)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - ROWS_NAMED} more" if len(names) > ROWS_NAMED else ""
    return ", ".join(names[:ROWS_NAMED]) + more
