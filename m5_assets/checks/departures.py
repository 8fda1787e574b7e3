"""What has left since the weeks before: whole stores, departments of a store, and items in all their stores.

A file that was cut off looks much the same, so what has left is named, and only a limited share may leave at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from m5_assets.checks.recording import Finding
from m5_assets.model_specs import ENSEMBLE
from m5_assets.resources.lake import Lake
from m5_assets.weeks import Week

KEYS = ("store_id", "dept_id", "item_id")
"""The columns that identify series here."""
_NAMED = 5


@dataclass(frozen=True)
class Departures:
    """The live series that a week lacks although earlier ones have them.

    Attributes:
        left: those of stores, store-departments and items that the week lacks altogether.
        names: what has left, each with the number of its series.
        live: number of live series.
    """

    left: pd.MultiIndex
    names: Mapping[str, int] = field(default_factory=dict)
    live: int = 0

    @property
    def share(self) -> float:
        """The share of the live series that has left."""
        return len(self.left) / max(self.live, 1)

    def finding(self) -> Finding:
        """Return a warning that names what has left; it passes if nothing has."""
        figures = {"series_left": len(self.left), "live_series": self.live}
        if not self.names:
            return Finding(True, "no store, department or item has left", figures)
        named = [f"{name} ({count} series)" for name, count in list(self.names.items())[:_NAMED]]
        more = f" and {len(self.names) - _NAMED} more" if len(self.names) > _NAMED else ""
        text = f"no longer in the sales file, so not forecast: {', '.join(named)}{more}"
        return Finding(False, f"{text}; {self.share:.1%} of the live series", figures)


def departures(live: pd.MultiIndex, own: pd.MultiIndex) -> Departures:
    """Return which live series have left with their store, their store's department, or their item.

    Args:
        live: the series, by `KEYS`, that sold or were forecast to sell.
        own: the week's series.
    """
    stores, departments, items = set(own.get_level_values(0)), set(own.droplevel(2)), set(own.get_level_values(2))
    names: dict[str, int] = {}
    left = []
    for store, department, item in live.difference(own):
        if store not in stores:
            name = f"store {store}"
        elif (store, department) not in departments:
            name = f"department {department} of store {store}"
        elif item not in items:
            name = f"item {item}"
        else:
            continue
        names[name] = names.get(name, 0) + 1
        left.append((store, department, item))
    index = pd.MultiIndex.from_tuples(left, names=KEYS) if left else live[:0]
    return Departures(index, dict(sorted(names.items(), key=lambda named: -named[1])), len(live))


def forecast_to_sell(lake: Lake, week: Week) -> pd.MultiIndex:
    """Return the series, by `KEYS`, with at least a unit in a week's forecast; none if it has no forecast."""
    manifest = lake.find("ensemble_forecast", week.key)
    parts = [pd.DataFrame(columns=list(KEYS))]
    if manifest is not None:
        for table in lake.read_groups(manifest.files[0], [*KEYS, ENSEMBLE]):
            units = table.group_by(list(KEYS)).aggregate([(ENSEMBLE, "sum")]).to_pandas()
            parts.append(units.loc[units[f"{ENSEMBLE}_sum"] >= 1, list(KEYS)])
    return pd.MultiIndex.from_frame(pd.concat(parts, ignore_index=True).astype(str))
