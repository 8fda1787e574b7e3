"""The tables that dashboards and planners read, with a comment on each table and column.

Here: the tables of the schema `m5` and their creation. Not here: how rows get in (`load`).
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Engine,
    Identity,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    inspect,
    schema,
    select,
)

SCHEMA = "m5"

metadata = MetaData(schema=SCHEMA)

_WEEK = "First day of the forecast week; sales were known through the day six days later"

series = Table(
    "series",
    metadata,
    Column("series_id", Integer, primary_key=True, autoincrement=False, comment="Number of the series; never changes"),
    Column("item_id", Text, nullable=False, comment="Item, e.g. FOODS_3_090"),
    Column("dept_id", Text, nullable=False, comment="Department of the item, e.g. FOODS_3"),
    Column("cat_id", Text, nullable=False, comment="Category of the item, e.g. FOODS"),
    Column("store_id", Text, nullable=False, comment="Store, e.g. CA_1"),
    Column("state_id", Text, nullable=False, comment="State of the store, e.g. CA"),
    UniqueConstraint("item_id", "store_id"),
    comment="One row for each item in each store that was ever forecast",
)

# No foreign key to series: the loader takes its numbers from there, and the key's lock on series would let two weeks
# that are loaded at once wait for each other.
forecast = Table(
    "forecast",
    metadata,
    Column("week", Date, primary_key=True, comment=_WEEK),
    Column("series_id", Integer, primary_key=True, autoincrement=False, comment="The series, see table series"),
    Column("date", Date, primary_key=True, comment="The day that is forecast"),
    Column(
        "gbm", REAL, nullable=False, comment="Forecast of the gradient-boosted trees (LightGBM), units sold that day"
    ),
    Column("lstm", REAL, nullable=False, comment="Forecast of the LSTM network, units sold that day"),
    Column("ensemble", REAL, nullable=False, comment="The forecast to use: both models combined, units sold that day"),
    postgresql_partition_by="LIST (week)",
    comment="Daily unit forecasts of every series, 28 days from each week; one partition a week, replaced as a whole",
)

accuracy = Table(
    "accuracy",
    metadata,
    Column("week", Date, primary_key=True, comment=_WEEK),
    Column(
        "model",
        Text,
        primary_key=True,
        comment="Whose forecast: gbm, lstm, average (of both), ensemble (aligned), or seasonal_naive",
    ),
    Column(
        "level",
        SmallInteger,
        CheckConstraint("level BETWEEN 0 AND 12", name="accuracy_level_check"),
        primary_key=True,
        autoincrement=False,
        comment="Aggregation level of the M5 competition, 1 (total) to 12 (item-store); 0: the mean of the twelve",
    ),
    Column(
        "wrmsse", Double, nullable=False, comment="Weighted root mean squared scaled error at this level; 0 is perfect"
    ),
    Column(
        "bias", Double, comment="Units forecast over units sold, less 1; the same at each level; null: nothing sold"
    ),
    comment="Accuracy of each week's forecasts, once the sales of their 28 days are known",
)

load_log = Table(
    "load_log",
    metadata,
    Column(
        "load_id", BigInteger, Identity(always=True), primary_key=True, comment="Number of the load, in their order"
    ),
    Column("week", Date, nullable=False, comment=_WEEK),
    Column("table_name", Text, nullable=False, comment="The table that was loaded: forecast or accuracy"),
    Column("rows", BigInteger, nullable=False, comment="Rows that the week has since this load"),
    Column("sha256", Text, nullable=False, comment="Hash of the rows' content: equal hashes, equal rows"),
    Column("run_id", Text, nullable=False, comment="The Dagster run that loaded them"),
    Column(
        "loaded_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
        comment="When the load's transaction began",
    ),
    comment="One row for each load of a week into a table",
)


def create_all(engine: Engine) -> None:
    """Create what does not exist yet; several processes may do so at once."""
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"{SCHEMA} schema"))))
        # IF NOT EXISTS would look into this session's cache, which does not know yet what was made while it waited.
        if not inspect(connection).has_schema(SCHEMA):
            connection.execute(schema.CreateSchema(SCHEMA))
        metadata.create_all(connection)


def partition(week: dt.date, suffix: str = "") -> Table:
    """Return the table of one week's forecasts, of the same columns as `forecast` but without its key."""
    name = f"{forecast.name}_{week:%Y_%m_%d}{suffix}"
    columns = (Column(c.name, c.type, nullable=False) for c in forecast.columns)
    return Table(name, MetaData(schema=SCHEMA), *columns)
