"""The tables of the schema `m5`: columns, types and keys.

`migrations` creates them, with their comments and the views; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)

from m5_assets.model_specs import MEMBER_NAMES

SCHEMA = "m5"

metadata = MetaData(schema=SCHEMA)

store = Table(
    "store",
    metadata,
    Column("store_id", Text, primary_key=True),
    Column("state_id", Text, nullable=False),
)
item = Table(
    "item",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("dept_id", Text, nullable=False),
    Column("cat_id", Text, nullable=False),
)
series = Table(
    "series",
    metadata,
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("item_id", Text, ForeignKey(item.c.item_id), nullable=False),
    Column("store_id", Text, ForeignKey(store.c.store_id), nullable=False),
    UniqueConstraint("item_id", "store_id"),
)

calendar = Table(
    "calendar",
    metadata,
    Column("date", Date, primary_key=True),
    Column("d", Integer),
    Column("event_name_1", Text),
    Column("event_type_1", Text),
    Column("event_name_2", Text),
    Column("event_type_2", Text),
)
snap = Table(
    "snap",
    metadata,
    Column("state_id", Text, primary_key=True),
    Column("date", Date, ForeignKey(calendar.c.date), primary_key=True),
)

# Partitioned tables: one partition per week, replaced as a whole. Their keys start with the series, because a series'
# history is read across partitions and the week is constant within one. They have no foreign keys: dropping a partition
# with one would lock the referenced table against all readers.
sales = Table(
    "sales",
    metadata,
    Column("week", Date),
    Column("series_id", Integer),
    Column("date", Date),
    Column("units", Integer, nullable=False),
    Column("sell_price", REAL),
    PrimaryKeyConstraint("series_id", "date", "week"),
    postgresql_partition_by="LIST (week)",
)
forecast = Table(
    "forecast",
    metadata,
    Column("week", Date),
    Column("series_id", Integer),
    Column("date", Date),
    *(Column(name, REAL, nullable=False) for name in MEMBER_NAMES),
    Column("ensemble", REAL, nullable=False),
    Column("sell_price", REAL),
    Column("average", REAL),
    PrimaryKeyConstraint("series_id", "date", "week"),
    postgresql_partition_by="LIST (week)",
    info={"required": ("average",)},  # null only in weeks loaded before the column existed
)
series_outlook = Table(
    "series_outlook",
    metadata,
    Column("week", Date),
    Column("series_id", Integer),
    Column("forecast_28", REAL, nullable=False),
    *(Column(f"{name}_28", REAL, nullable=False) for name in MEMBER_NAMES),
    Column("last_28", Integer, nullable=False),
    Column("previous_28", Integer, nullable=False),
    Column("last_year_28", Integer),
    Column("zero_days", Integer, nullable=False),
    Column("nonzero_share_91", REAL, nullable=False),
    Column("usual_28", REAL, nullable=False),
    Column("sell_price", REAL),
    Column("next_price", REAL),
    Column("next_price_date", Date),
    Column("first_sale", Date),
    PrimaryKeyConstraint("series_id", "week"),
    postgresql_partition_by="LIST (week)",
)
aggregate_accuracy = Table(
    "aggregate_accuracy",
    metadata,
    Column("week", Date, nullable=False),
    Column("model", Text, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("state_id", Text),
    Column("store_id", Text),
    Column("cat_id", Text),
    Column("dept_id", Text),
    Column("item_id", Text),
    Column("units", Double, nullable=False),
    Column("weight", Double, nullable=False),
    Column("rmsse", Double),
    Column("mae", Double, nullable=False),
    Column("bias", Double),
    UniqueConstraint(
        *("model", "level", "state_id", "store_id", "cat_id", "dept_id", "item_id", "week"),
        postgresql_nulls_not_distinct=True,
    ),
    postgresql_partition_by="LIST (week)",
)

store_dept_sales = Table(
    "store_dept_sales",
    metadata,
    Column("store_id", Text, ForeignKey(store.c.store_id), primary_key=True),
    Column("dept_id", Text, primary_key=True),
    Column("date", Date, primary_key=True),
    Column("units", Integer, nullable=False),
)
store_dept_forecast = Table(
    "store_dept_forecast",
    metadata,
    Column("week", Date, primary_key=True),
    Column("store_id", Text, ForeignKey(store.c.store_id), primary_key=True),
    Column("dept_id", Text, primary_key=True),
    Column("date", Date, primary_key=True),
    *(Column(name, REAL, nullable=False) for name in MEMBER_NAMES),
    Column("average", REAL, nullable=False),
    Column("totals", REAL, nullable=False),
    Column("ensemble", REAL, nullable=False),
)
accuracy = Table(
    "accuracy",
    metadata,
    Column("week", Date),
    Column("model", Text),
    Column("level", SmallInteger),
    Column("wrmsse", Double, nullable=False),
    Column("bias", Double),
    Column("horizon_week", SmallInteger),
    Column("rmsse", Double),
    Column("mae", Double),
    PrimaryKeyConstraint("week", "model", "level", "horizon_week"),
    info={"required": ("mae",)},  # null only in weeks loaded before the column existed
)

load_log = Table(
    "load_log",
    metadata,
    Column("load_id", BigInteger, Identity(always=True), primary_key=True),
    Column("week", Date),
    Column("table_name", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("loaded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("load_log_table_week", "table_name", "week"),
)
