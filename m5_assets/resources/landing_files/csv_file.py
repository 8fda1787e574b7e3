"""A landed CSV file: its header, its rows as typed columns, and which rows are malformed.

Each file's own rules are in its `*_file` module.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from m5_assets.resources.landing_files.bad_input import EXPORT_AGAIN, ROWS_NAMED, BadInput, listed, row_name, shown
from m5_assets.resources.landing_files.file_forms import StoredFile

_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 1 << 20
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)?)?")
"""An empty column name, and what pandas calls such a column when it reads one."""
_IN_UTF8 = "Export the file as CSV in UTF-8."


@dataclass(frozen=True)
class CellForm:
    """What the cells of a column must look like.

    Attributes:
        bare: regular expression of the usual cells: without quotes and commas. Lines of such cells need no closer look.
        accepts: returns something true for a valid cell.
    """

    bare: str
    accepts: Callable[[str], object]

    @classmethod
    def of(cls, expression: str) -> CellForm:
        """Return the form of cells that match an expression, which matches no comma and no quote."""
        return cls(expression, re.compile(expression).fullmatch)


_TEXT = CellForm('[^,"\r\n\udc80-\udcff]+', len)
OPTIONAL_TEXT = CellForm('[^,"\r\n\udc80-\udcff]*', lambda _: True)
_EMPTY, _INDEX = CellForm.of(""), CellForm.of(r"\d*")


class LandingFile(StoredFile):
    """One CSV file of the folder: UTF-8, commas, a header, no blank lines; lines end with LF, CRLF or CR.

    Columns without a name hold no data: a row number at the beginning, as pandas and R write it, or nothing at all,
    which is what a comma at the end of each line looks like. They are left out.
    """

    def header(self) -> list[str]:
        """Return the names of the named columns; reads only the first line."""
        names = [name for name in self._columns() if not _UNNAMED.fullmatch(name)]
        if len(names) == 1:
            used = [word for sign, word in _SEPARATORS.items() if sign in names[0]]
            if used:
                remedy = "Export the file with commas between the columns and a point in decimals."
                raise BadInput(self, f"the columns are separated by {used[0]}", remedy)
        repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if repeated:
            raise BadInput(self, f"duplicate columns: {listed(repeated)}", "Remove the duplicates.")
        return names

    def check_columns(self, found: Sequence[str], expected: Sequence[str]) -> None:
        """Check that a header has exactly the expected columns, in any order.

        Raises:
            BadInput: if a column is missing or unknown.
        """
        missing = [name for name in expected if name not in found]
        unknown = [name for name in found if name not in expected]
        if missing or unknown:
            parts = [f"missing columns: {listed(missing)}"] * bool(missing)
            parts += [f"unknown columns: {listed(unknown)}"] * bool(unknown)
            raise BadInput(self, "; ".join(parts), f"The file must have these columns: {', '.join(expected)}.")

    def batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in blocks with these column types; an empty cell is null.

        Raises:
            pa.ArrowInvalid: if a cell does not match its column's type or a row is malformed; `refuse_rows` finds it.
        """
        columns = self._columns()
        with self.open() as source:
            for batch in pa_csv.open_csv(source, **_options(types, columns)):
                yield _named(batch, columns)

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """Return all rows as `batches` does, read on all cores."""
        columns = self._columns()
        with self.open() as source:
            table = pa_csv.read_csv(source, **_options(types, columns))
        batches = [_named(batch, columns) for batch in table.to_batches()]
        return pa.Table.from_batches(batches) if batches else table.select(self.header())

    def refuse_rows(self, forms: Mapping[str, CellForm], keys: Sequence[str], cause: str, remedy: str) -> BadInput:
        """Return the error for a file that does not parse as typed columns, naming the rows at fault.

        Reads the file again line by line, which is slower but only happens on failure.

        Args:
            forms: what the cells of these columns must look like; cells of the others must not be empty.
            keys: the columns that identify a row.
            cause: the CSV reader's message, used if no single row is at fault.
            remedy: what the file's owner can do about cells of the wrong form, as a sentence.
        """
        rows = self._broken_rows(forms, keys)
        first = list(islice(rows, ROWS_NAMED))
        if not first:
            return BadInput(self, f"cannot be read as CSV ({cause})", EXPORT_AGAIN)
        remedies = " ".join(dict.fromkeys(other or remedy for _, other in first))
        return BadInput(self, "bad values", remedies, (text for text, _ in chain(first, rows)))

    def _columns(self) -> list[str]:
        with self.open() as source:
            line = io.BufferedReader(source).readline(_LONGEST_LINE)  # type: ignore[type-var]  # any binary stream does
        begin, end, _ = line.partition(b"\r")  # a file with CR alone is one long line
        line = begin + end
        if not line.strip():
            raise BadInput(self, "line 1 is blank; expected a header" if line else "the file is empty", EXPORT_AGAIN)
        if len(line) == _LONGEST_LINE:
            raise BadInput(self, f"line 1 has more than {_LONGEST_LINE:,} bytes; expected a header", EXPORT_AGAIN)
        try:
            return next(csv.reader([line.decode("utf-8-sig")]))
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadInput(self, f"line 1 (the header) is not UTF-8 CSV ({error})", _IN_UTF8) from None

    def _broken_rows(self, forms: Mapping[str, CellForm], keys: Sequence[str]) -> Iterator[tuple[str, str | None]]:
        """Yield each bad row by name with its fault, and the remedy unless the fault is a cell of the wrong form."""
        header = self._columns()
        leading = _leading(header)
        unnamed = {place: _INDEX if place < leading else _EMPTY for place in _places_unnamed(header)}
        cell_forms = [unnamed.get(place) or forms.get(name, _TEXT) for place, name in enumerate(header)]
        good = re.compile(",".join(f"(?:{form.bare})" for form in cell_forms))
        with self.open() as source:
            # An undecodable byte becomes a lone surrogate, so the message can name its row.
            lines = _Lines(io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline=""))
            next(lines)
            try:
                for line in lines:
                    if good.fullmatch(line.rstrip("\r\n")):
                        continue
                    begin = lines.number
                    cells = next(csv.reader(chain([line], lines)))  # a quoted cell may continue on the next line
                    if fault := _fault(header, cell_forms, cells):
                        key = [cells[header.index(name)] for name in keys] if len(cells) == len(header) else cells[:1]
                        yield f"{row_name(begin, *key)}: {fault[0]}", fault[1]
            except csv.Error as error:  # an unclosed quote or a lone carriage return: the rest cannot be parsed
                yield f"line {lines.number:,}: {error}", EXPORT_AGAIN


class _Lines:
    """The lines of a text, counted; one of endless length is an error before it fills the memory."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self.number = text, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"more than {_LONGEST_LINE:,} characters in one line")
        return line


def _options(types: Mapping[str, pa.DataType], columns: Sequence[str]) -> dict[str, object]:
    column_types = {name: pa.string() for name in columns if _UNNAMED.fullmatch(name)} | dict(types)
    return {
        "read_options": pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
        "parse_options": pa_csv.ParseOptions(ignore_empty_lines=False),
        # Only an empty cell is null; Arrow's default also accepts "NA", "null" and others.
        "convert_options": pa_csv.ConvertOptions(column_types=column_types, null_values=[""], strings_can_be_null=True),
    }


def _places_unnamed(columns: Sequence[str]) -> list[int]:
    return [place for place, name in enumerate(columns) if _UNNAMED.fullmatch(name)]


def _leading(columns: Sequence[str]) -> int:
    """Return how many unnamed columns come before the first named one."""
    return next((place for place, name in enumerate(columns) if not _UNNAMED.fullmatch(name)), 0)


def _named(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Return the named columns of a block.

    Raises:
        pa.ArrowInvalid: if an unnamed column holds data.
    """
    unnamed, leading = _places_unnamed(columns), _leading(columns)
    for place in unnamed:
        cells = batch.column(place).drop_null()
        if len(cells) and not (place < leading and pc.all(pc.match_substring_regex(cells, r"^\d+$")).as_py()):
            raise pa.ArrowInvalid(f"column {place + 1} has no name but values")
    return batch.select([place for place in range(len(columns)) if place not in set(unnamed)]) if unnamed else batch


def _fault(header: Sequence[str], forms: Sequence[CellForm], cells: Sequence[str]) -> tuple[str, str | None] | None:
    if not cells:
        return "the line is blank", "Remove blank lines."
    if len(cells) != len(header):
        return f"{len(cells)} cells, expected {len(header)}", EXPORT_AGAIN
    for place, (name, form, cell) in enumerate(zip(header, forms, cells, strict=True), start=1):
        if not cell.isascii() and any("\udc80" <= letter <= "\udcff" for letter in cell):
            return f"{name} is not UTF-8 text", _IN_UTF8
        if not form.accepts(cell):
            if _UNNAMED.fullmatch(name):
                return f"column {place} has no name but holds {shown(cell)}", "Name or remove the column."
            return f"{name} is {cell[:80]!r}" if cell else f"{name} is empty", None
    return None
