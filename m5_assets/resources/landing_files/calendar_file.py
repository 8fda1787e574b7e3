"""Reader of `calendar.csv`: days, Walmart's weeks, events and SNAP days."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from m5_assets.resources.landing_files.bad_input import EXPORT_AGAIN, BadInput, row_name, shown
from m5_assets.resources.landing_files.csv_file import OPTIONAL_TEXT, CellForm, LandingFile
from m5_assets.resources.landing_files.ids import LONGEST_ITEM, id_fault

EVENT_COLUMNS = ("event_name_1", "event_type_1", "event_name_2", "event_type_2")
SNAP = "snap_"
"""A column's name is this and a state_id."""
DAY_COLUMNS = ("date", "wm_yr_wk", "weekday", "wday", "month", "year", "d")

_WHOLE_NUMBERS = ("wm_yr_wk", "wday", "month", "year")
_FORMS = {
    "date": r"\d{4}-\d{2}-\d{2}",
    "wm_yr_wk": r"\d{5}",
    "d": r"d_[1-9]\d{0,5}",
    **dict.fromkeys(("wday", "month", "year"), r"\d{1,4}"),
}
_EXAMPLES = {"date": "2011-01-29", "wm_yr_wk": "11101", "d": "d_1", "wday": "1", "month": "1", "year": "2011"}
_NO_EVENT = ("na", "nan", "none", "null")
"""How R, pandas and databases write a missing value."""
_REMEDY = "Correct these rows, or extend Kaggle's calendar.csv with days in the same format."


def read_calendar(file: LandingFile) -> pd.DataFrame:
    """Read and validate the calendar; see `Landing.calendar` for the columns."""
    header = file.header()
    snap_columns = [name for name in header if name.startswith(SNAP)]
    file.check_columns(header, [*DAY_COLUMNS, *EVENT_COLUMNS, *(snap_columns or [f"{SNAP}<state_id>"])])
    _check_states(file, snap_columns)
    forms = _FORMS | dict.fromkeys(snap_columns, "[01]")
    types = {name: pa.string() for name in header}
    try:
        text = file.table(types).to_pandas().astype("str").fillna("")
    except pa.ArrowInvalid as error:
        cells = {name: CellForm.of(form) for name, form in forms.items()}
        cells |= dict.fromkeys(("weekday", *EVENT_COLUMNS), OPTIONAL_TEXT)
        raise file.refuse_rows(cells, ["date", "d"], str(error), _REMEDY) from None
    for name in (*_WHOLE_NUMBERS, *snap_columns):  # written 1.0 by programs that had gaps in the column
        text[name] = text[name].str.replace(r"\.0*$", "", regex=True)
    for name in EVENT_COLUMNS:
        text.loc[text[name].str.lower().isin(_NO_EVENT), name] = ""
    if text.empty:
        raise BadInput(file, "contains no days", EXPORT_AGAIN)
    for name, form in forms.items():
        fault = f"; expected a value like {_EXAMPLES.get(name, '0 or 1')}"
        _refuse(file, text, ~text[name].str.fullmatch(form), name, fault)
    dates = pd.to_datetime(text["date"], format="%Y-%m-%d", errors="coerce").astype("datetime64[s]")
    _refuse(file, text, dates.isna(), "date", ", which is not a date")
    calendar = pd.DataFrame(
        {
            "date": dates,
            "wm_yr_wk": text["wm_yr_wk"].astype("int32"),
            "d": text["d"].str.removeprefix("d_").astype("int32"),
            **{name: text[name] for name in EVENT_COLUMNS},
            **{name: text[name] == "1" for name in snap_columns},
        }
    )
    _check_order(file, text, calendar)
    _check_parts(file, text, calendar["date"])
    _check_events(file, text)
    return calendar


def read_first_day(file: LandingFile) -> tuple[int, dt.date]:
    """Return number and date of the calendar's first day; reads only its first lines."""
    with file.open() as source:
        for row in csv.DictReader(io.TextIOWrapper(source, "utf-8-sig", errors="replace")):
            if re.fullmatch(_FORMS["d"], row.get("d") or "") and re.fullmatch(_FORMS["date"], row.get("date") or ""):
                return int(row["d"].removeprefix("d_")), dt.date.fromisoformat(row["date"])
            break
    raise BadInput(file, "does not begin with a day", _REMEDY)


def _check_order(file: LandingFile, text: pd.DataFrame, calendar: pd.DataFrame) -> None:
    step = calendar["date"].diff().dt.days.fillna(1)
    _refuse(file, text, step != 1, "date", ", which does not follow the date in the previous row")
    _refuse(file, text, calendar["d"].diff().fillna(1) != 1, "d", ", which does not follow the previous row")
    weeks = calendar["wm_yr_wk"]
    _refuse(file, text, weeks.diff().fillna(0) < 0, "wm_yr_wk", ", earlier than in the previous row")
    _refuse(file, text, weeks.groupby(weeks).cumcount() >= 7, "wm_yr_wk", " on more than seven days")


def _check_states(file: LandingFile, snap_columns: Sequence[str]) -> None:
    for name in snap_columns:
        state = name.removeprefix(SNAP)
        if fault := id_fault(state) if state else "names no state":
            remedy = f"Name the column {SNAP}, followed by a state_id of the sales."
            raise BadInput(file, f"column {shown(name)} {fault}", remedy)


def _check_parts(file: LandingFile, text: pd.DataFrame, dates: pd.Series) -> None:
    """Refuse a weekday (it may be empty), wday, month or year that is not the date's."""
    weekday = dates.dt.day_name()
    expected = {
        "wday": (dates.dt.day_of_week + 2) % 7 + 1,  # Walmart's weeks begin on Saturday
        "month": dates.dt.month,
        "year": dates.dt.year,
    }
    named = text["weekday"].str.strip().str.casefold()
    odd = (named != "") & (named != weekday.str.casefold())
    _refuse(file, text, odd, "weekday", ", but the date is a " + weekday)
    for name, numbers in expected.items():
        fault = f", but the date has {name} " + numbers.astype(str) + (" (1 is Saturday)" if name == "wday" else "")
        _refuse(file, text, text[name].astype("int64") != numbers, name, fault)


def _check_events(file: LandingFile, text: pd.DataFrame) -> None:
    for name in EVENT_COLUMNS:
        faults = {each: id_fault(each, LONGEST_ITEM, slashes=True) for each in text[name].unique() if each}
        for each, fault in faults.items():
            if fault:
                _refuse(file, text, text[name] == each, name, f", which {fault}")
    for name, kind in (EVENT_COLUMNS[:2], EVENT_COLUMNS[2:]):
        _refuse(
            file,
            text,
            (text[name] == "") != (text[kind] == ""),
            name,
            f": {name} and {kind} must both be set or both be empty",
        )


def _refuse(file: LandingFile, text: pd.DataFrame, bad: pd.Series, column: str, fault: str | pd.Series) -> None:
    if bad.any():
        faults = pd.Series(fault, index=text.index)
        rows = (
            f"{row_name(index + 2, text['date'][index], text['d'][index])}: "
            f"{column} is {text[column][index]!r}{faults[index]}"
            for index in bad.index[bad]
        )
        raise BadInput(file, f"bad values in column {column}", _REMEDY, rows)
