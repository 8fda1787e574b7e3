"""The stores and departments of a week's features, which decide whether a model still fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow.parquet as pq

from m5_assets.forecasting.totals.daily_totals import GROUP_COLUMNS
from m5_assets.resources.lake import Lake
from m5_assets.resources.lake_manifests import Manifest

Groups = Mapping[str, Sequence[str]]
"""Names of groups, sorted, by the columns that make them: `{"store_id/dept_id": ["CA_1/FOODS_1"]}`."""

_NAMED = 3


def groups_of(lake: Lake, features: Manifest, levels: Sequence[Sequence[str]]) -> Groups:
    """Return the groups of a week at these levels, each given by columns of `GROUP_COLUMNS`."""
    (file,) = features.under("totals")
    with lake.open(file) as stream:
        frame = pq.read_table(stream, columns=list(GROUP_COLUMNS)).to_pandas().astype(str)
    return {"/".join(level): sorted(set(frame[list(level)].agg("/".join, axis=1))) for level in levels}


def difference(found: Groups, known: Groups) -> str:
    """Return in words which groups are new and which have left, compared with those known; empty if none."""
    problems = []
    for level, names in found.items():
        before = known.get(level, ())
        for what, changed in (("new", set(names) - set(before)), ("left", set(before) - set(names))):
            if changed:
                more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
                problems.append(f"{what} {level} {', '.join(sorted(changed)[:_NAMED])}{more}")
    return "; ".join(problems)
