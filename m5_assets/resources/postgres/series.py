"""The numbers of series: stores, items and series that a load brings are written before its rows.

Not here: the rows (`rows`, `load`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection, text

from m5_assets.resources.postgres.copying import copy_csv

_INCOMING = (
    "CREATE TEMPORARY TABLE incoming (position int, item_id text, dept_id text, cat_id text, store_id text, "
    "state_id text) ON COMMIT DROP"
)
_IS_NEWS = (
    "SELECT EXISTS (SELECT FROM incoming i LEFT JOIN m5.series_hierarchy h USING (item_id, store_id) "
    "WHERE (h.dept_id, h.cat_id, h.state_id) IS DISTINCT FROM (i.dept_id, i.cat_id, i.state_id))"
)
_UPSERTS = (
    "INSERT INTO m5.store (store_id, state_id) SELECT DISTINCT store_id, state_id FROM incoming "
    "ON CONFLICT (store_id) DO UPDATE SET state_id = excluded.state_id",
    "INSERT INTO m5.item (item_id, dept_id, cat_id) SELECT DISTINCT item_id, dept_id, cat_id FROM incoming "
    "ON CONFLICT (item_id) DO UPDATE SET dept_id = excluded.dept_id, cat_id = excluded.cat_id",
    "INSERT INTO m5.series (series_id, item_id, store_id) SELECT (SELECT coalesce(max(series_id), 0) FROM m5.series) "
    "+ row_number() OVER (ORDER BY position), item_id, store_id FROM incoming i WHERE NOT EXISTS "
    "(SELECT FROM m5.series s WHERE s.item_id = i.item_id AND s.store_id = i.store_id)",
)
_NUMBERS = "SELECT series_id FROM incoming JOIN m5.series USING (item_id, store_id) ORDER BY position"


def upsert_series(connection: Connection, series: pa.Table) -> npt.NDArray[np.int32]:
    """Write series that are new and hierarchies that changed; return the series' numbers.

    A new series gets the next number, in the order given; known ones keep theirs for good.

    Args:
        connection: in the load's transaction.
        series: S rows with the string columns item_id, dept_id, cat_id, store_id and state_id.

    Returns:
        (S,) the number of each series.
    """
    connection.execute(text(_INCOMING))
    positions = pa.array(np.arange(len(series), dtype=np.int32))
    copy_csv(connection, "incoming", series.append_column("position", positions))
    if connection.execute(text(_IS_NEWS)).scalar_one():
        # Loads that bring news wait for each other; the others, nearly all, pass by. Readers see the old rows.
        connection.execute(text("LOCK TABLE m5.series IN SHARE ROW EXCLUSIVE MODE"))
        for upsert in _UPSERTS:
            connection.execute(text(upsert))
    return np.fromiter(connection.execute(text(_NUMBERS)).scalars(), dtype=np.int32, count=len(series))


def upsert_stores(connection: Connection, rows: pa.Table) -> None:
    """Write stores that are new, by the columns store_id and state_id of any rows."""
    stores = rows.select(["store_id", "state_id"]).group_by(["store_id", "state_id"]).aggregate([]).to_pylist()
    statement = text("INSERT INTO m5.store VALUES (:store_id, :state_id) ON CONFLICT (store_id) DO NOTHING")
    connection.execute(statement, sorted(stores, key=lambda row: str(row["store_id"])))
