"""Downloads of a page's table as CSV or Excel."""

from __future__ import annotations

import datetime as dt
import io
import re
import unicodedata
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd
import xlsxwriter
from starlette.responses import Response

from m5_assets.dashboard import formatting

Form = Literal["csv", "xlsx"]

_TYPES = {"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
_WIDEST = 80
_NAME_BYTES = 200  # file systems allow 255; a longer name keeps its end, which is the item and the week

# Spreadsheets execute text that looks like a formula (OWASP, "CSV injection"), also behind a separator of theirs: where
# the decimal sign is a comma, they split at semicolons.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def download(frame: pd.DataFrame, name: str, form: Form, note: str) -> Response:
    """Return the frame as an attachment named `name.form`; in Excel, the note is the second sheet."""
    body = _csv(frame) if form == "csv" else _xlsx(frame, note)
    return Response(body, media_type=_TYPES[form], headers={"Content-Disposition": _attachment(name, form)})


def _attachment(name: str, form: Form) -> str:
    """Return the header that names the file: in ASCII and, if that is not all of it, in UTF-8 (RFC 6266)."""
    plain = "".join("_" if (unicodedata.category(c)[0] in "CZ" and c != " ") or c in '<>:"/\\|?*' else c for c in name)
    plain = plain.encode()[-_NAME_BYTES:].decode(errors="ignore")
    in_ascii = re.sub(r"[^ -~]|%", "_", plain)
    header = f'attachment; filename="{in_ascii}.{form}"'
    return header if in_ascii == plain else f"{header}; filename*=UTF-8''{quote(plain, safe='')}.{form}"


def _without_formula(value: Any) -> Any:
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _csv(frame: pd.DataFrame) -> bytes:
    texts = [name for name in frame.columns if any(isinstance(value, str) for value in frame[name])]
    text = frame.assign(**{name: [_without_formula(value) for value in frame[name]] for name in texts})
    return text.to_csv(index=False, float_format="%.4f", lineterminator="\r\n").encode(
        "utf-8-sig"
    )  # Excel needs the BOM


def _xlsx(frame: pd.DataFrame, note: str) -> bytes:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(
        buffer, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    ) as book:
        sheet, about = book.add_worksheet("Data"), book.add_worksheet("About")
        head = book.add_format({"bold": True, "bg_color": "#e8edf2", "bottom": 1})
        number, date = book.add_format({"num_format": "#,##0.00"}), book.add_format({"num_format": "yyyy-mm-dd"})
        whole = book.add_format({"num_format": "#,##0"})
        for column, title in enumerate(frame.columns):
            sheet.write_string(0, column, str(title), head)
            values = frame[title].tolist()
            for row, value in enumerate(values, start=1):
                if formatting.missing(value):
                    continue
                if isinstance(value, dt.date):
                    sheet.write_datetime(row, column, dt.datetime.combine(value, dt.time()), date)
                elif isinstance(value, bool):
                    sheet.write_boolean(row, column, value)
                elif isinstance(value, (int, float)):
                    sheet.write_number(row, column, value, number if isinstance(value, float) else whole)
                else:
                    sheet.write_string(row, column, str(value))
            longest = max([len(str(title)), 10, *(len(v) for v in values if isinstance(v, str))])
            sheet.set_column(column, column, min(longest + 2, _WIDEST))
        sheet.freeze_panes(1, 0)
        if len(frame):
            sheet.autofilter(0, 0, len(frame), len(frame.columns) - 1)
        about.write_string(0, 0, note)
        about.set_column(0, 0, _WIDEST)
    return buffer.getvalue()
