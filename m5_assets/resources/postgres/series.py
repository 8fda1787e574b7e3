"""Register the stores, items and series of a load, and look up the series' numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection, text

from m5_assets.resources.postgres.copying import copy_csv, read_csv
from m5_assets.resources.postgres.load_rows import SERIES_COLUMNS

_UPSERTS = (
    "INSERT INTO m5.store (store_id, state_id) SELECT DISTINCT store_id, state_id FROM incoming "
    "ON CONFLICT (store_id) DO UPDATE SET state_id = excluded.state_id WHERE store.state_id <> excluded.state_id",
    "INSERT INTO m5.item (item_id, dept_id, cat_id) SELECT DISTINCT item_id, dept_id, cat_id FROM incoming "
    "ON CONFLICT (item_id) DO UPDATE SET dept_id = excluded.dept_id, cat_id = excluded.cat_id "
    "WHERE (item.dept_id, item.cat_id) <> (excluded.dept_id, excluded.cat_id)",
    "INSERT INTO m5.series (series_id, item_id, store_id) SELECT (SELECT coalesce(max(series_id), 0) FROM m5.series) "
    "+ row_number() OVER (ORDER BY position), item_id, store_id FROM incoming i WHERE NOT EXISTS "
    "(SELECT FROM m5.series s WHERE s.item_id = i.item_id AND s.store_id = i.store_id)",
)


def upsert_series(connection: Connection, series: pa.Table) -> npt.NDArray[np.int32]:
    """Insert new series, update changed hierarchies, and return the series' numbers.

    New series get the next numbers, in the order given; a number never changes.

    Args:
        connection: the load's transaction.
        series: S rows with the string columns item_id, dept_id, cat_id, store_id and state_id.

    Returns:
        (S,) numbers of the series.
    """
    columns = ", ".join(f"{name} text" for name in SERIES_COLUMNS)
    connection.execute(text(f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming (position int, {columns}) ON COMMIT DROP"))
    connection.execute(text("TRUNCATE incoming"))
    copy_csv(connection, "incoming", series.append_column("position", pa.array(np.arange(len(series), dtype=np.int32))))
    connection.execute(text("ANALYZE incoming"))  # so the planner uses the key for a few of many series
    numbers = _known(connection)
    if numbers.null_count:
        # Only loads with new or changed series, which are rare, wait for each other. Readers are not blocked.
        connection.execute(text("LOCK TABLE m5.series IN SHARE ROW EXCLUSIVE MODE"))
        for upsert in _UPSERTS:
            connection.execute(text(upsert))
        numbers = _known(connection)
    found: npt.NDArray[np.int32] = numbers.to_numpy()
    return found


def upsert_stores(connection: Connection, rows: pa.Table) -> None:
    """Insert new stores from the columns store_id and state_id of any rows."""
    stores = rows.select(["store_id", "state_id"]).group_by(["store_id", "state_id"]).aggregate([]).to_pylist()
    statement = text("INSERT INTO m5.store VALUES (:store_id, :state_id) ON CONFLICT (store_id) DO NOTHING")
    connection.execute(statement, sorted(stores, key=lambda row: str(row["store_id"])))


def _known(connection: Connection) -> pa.ChunkedArray:
    """Return (S,) numbers of the incoming series, null where a series is new or its hierarchy changed."""
    types = {"position": pa.int32(), "series_id": pa.int32()}
    query = (
        f"SELECT {', '.join(types)} FROM incoming LEFT JOIN (SELECT * FROM m5.series_hierarchy "  # noqa: S608  # our own names
        # The planner cannot infer that only the incoming stores matter.
        "WHERE store_id = ANY (ARRAY(SELECT DISTINCT store_id FROM incoming))) AS known "
        f"USING ({', '.join(SERIES_COLUMNS)}) ORDER BY position"
    )
    return read_csv(connection, query, types)["series_id"]
