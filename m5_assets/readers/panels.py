"""The series of a table in the lake, and their panels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa

from m5_assets.forecasting.file_names import key_of
from m5_assets.forecasting.panel import SERIES_COLUMNS, Panel, concat, read_panel
from m5_assets.resources.lake import Lake
from m5_assets.weeks import Week


def series_of(table: pa.Table, days: int) -> pd.DataFrame:
    """Return the N series of N x days rows, as in a panel."""
    heads = table.select(SERIES_COLUMNS).take(np.arange(0, table.num_rows, days))
    return pd.DataFrame({name: heads[name].to_pandas().astype(str) for name in SERIES_COLUMNS})


def read_panels(lake: Lake, week: Week, stores: Sequence[str]) -> Panel:
    """Return the panel of these stores in the week's features.

    Raises:
        dg.Failure: the features hold none of the stores.
    """
    files = {key_of(Path(file.key).stem): file for file in lake.get("features", week.key).under("panel")}
    panels = []
    for store in sorted(set(stores) & set(files)):
        with lake.open(files[store]) as stream:
            panels.append(read_panel(stream))
    if not panels:
        raise dg.Failure(f"week {week}: forecast and features cover different series; materialize the week again")
    return concat(panels)
