"""The Exceptions page: the week's list, computed once per load by `exception_rules` and then filtered."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pandas as pd

from m5_assets.dashboard import exception_rules
from m5_assets.dashboard.database import Reader
from m5_assets.resources.postgres.load_rows import SERIES_COLUMNS
from m5_assets.weeks import Week

PAGE_ROWS = 50

_MEMBERS = ", ".join(f"o.{column}" for column in exception_rules.MEMBER_COLUMNS)
_OUTLOOK = f"""
SELECT h.item_id, h.dept_id, h.cat_id, h.store_id, h.state_id, o.forecast_28, {_MEMBERS}, o.last_28,
    o.usual_28, o.zero_days, o.nonzero_share_91, o.sell_price, o.next_price, o.next_price_date, o.first_sale
FROM m5.series_outlook o JOIN m5.series_hierarchy h USING (series_id) WHERE o.week = :week
"""  # noqa: S608  # our own text, every value bound


@dataclass(frozen=True)
class Filter:
    """Which exceptions to show; None means all."""

    kind: str | None = None
    store: str | None = None
    dept: str | None = None

    def of(self, listed: pd.DataFrame, *, any_kind: bool = False) -> pd.DataFrame:
        """Return the matching rows; with `any_kind`, ignore the chosen kind."""
        chosen = pd.Series(True, index=listed.index)
        for column, value in (
            ("kind", None if any_kind else self.kind),
            ("store_id", self.store),
            ("dept_id", self.dept),
        ):
            if value:
                chosen &= listed[column] == value
        return listed[chosen]


class ExceptionLists:
    """A cache of each week's exceptions; a new load of the week invalidates its entry."""

    def __init__(self) -> None:
        self._lists: dict[Week, tuple[int, pd.DataFrame]] = {}
        self._lock = threading.Lock()

    def of(self, reader: Reader, week: Week) -> pd.DataFrame:
        """Return all exceptions of a week in the order of `exception_rules.exceptions`."""
        load = reader.newest_load(week)
        with self._lock:
            found = self._lists.get(week)
        if found is None or found[0] != load:
            listed = exception_rules.exceptions(reader.bulk(_OUTLOOK, SERIES_COLUMNS, week=week.first_day), week.origin)
            with self._lock:
                self._lists[week] = found = (load, listed)
        return found[1]


def counts(listed: pd.DataFrame) -> pd.DataFrame:
    """Return number, units and money per kind, in the order of `KINDS`."""
    grouped = listed.groupby("kind").agg(number=("units", "size"), units=("units", "sum"), money=("money", "sum"))
    return grouped.reindex(list(exception_rules.KINDS)).fillna(0.0)
