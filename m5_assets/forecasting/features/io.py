"""Reads and writes the features of one store's prediction rows as a Parquet file.

The bytes depend on the panel alone: no timestamp, no index, and a row order that does not depend on threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from m5_assets.forecasting.features.context import Context
from m5_assets.forecasting.features.registry import NAMES, compute
from m5_assets.forecasting.panel import SERIES_COLUMNS

KEY_COLUMNS = (*SERIES_COLUMNS, "date")
"""The columns that identify a row. The horizon is a feature, so it is among the feature columns."""


def horizon_table(context: Context, store: str, *, threads: int = 2) -> pa.Table:
    """Return a store's prediction rows: `KEY_COLUMNS` and all features as float32.

    There are 28 rows per series, ordered by the panel's series, then by day.
    """
    rows = context.horizon_rows(store)
    values = compute(context, rows, threads=threads)
    columns: dict[str, Any] = {}
    for name in SERIES_COLUMNS:
        keys = context.series[name].to_numpy(str)[rows.series]
        columns[name] = pa.array(keys, pa.string()).dictionary_encode()
    columns["date"] = pa.array(context.dates[rows.day], pa.date32())
    for place, name in enumerate(NAMES):
        columns[name] = pa.array(values[:, place], pa.float32())
    return pa.table(columns)


def write_horizon(context: Context, store: str, path: Path, *, threads: int = 2) -> int:
    """Write a store's prediction rows and return their number; the file appears only when it is complete."""
    table = horizon_table(context, store, threads=threads)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial, compression="zstd", compression_level=1, use_dictionary=True, write_statistics=False)
    partial.replace(path)
    return int(table.num_rows)


def read_horizon(source: Path | pa.BufferReader) -> pa.Table:
    """Read rows written by `write_horizon`, from a file or a buffer (such as a request's body).

    Raises:
        ValueError: columns are missing; the message names them.
    """
    table = pq.read_table(source)
    missing = [name for name in (*KEY_COLUMNS, *NAMES) if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{source}: {len(missing)} feature columns are missing ({', '.join(missing[:5])}); "
            "write the file again with this version's features job"
        )
    return table
