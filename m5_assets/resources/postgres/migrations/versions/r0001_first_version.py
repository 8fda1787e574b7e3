"""The tables of the platform's first version: series, weekly forecasts, accuracy, load log.

Revision: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SCHEMA = "m5"
_WEEK = "First day of the forecast week; sales were known through the day six days later"


def upgrade() -> None:
    """Create the four tables."""
    op.create_table(
        "series",
        sa.Column(
            "series_id",
            sa.Integer,
            primary_key=True,
            autoincrement=False,
            comment="Number of the series; never changes",
        ),
        sa.Column("item_id", sa.Text, nullable=False, comment="Item, e.g. FOODS_3_090"),
        sa.Column("dept_id", sa.Text, nullable=False, comment="Department of the item, e.g. FOODS_3"),
        sa.Column("cat_id", sa.Text, nullable=False, comment="Category of the item, e.g. FOODS"),
        sa.Column("store_id", sa.Text, nullable=False, comment="Store, e.g. CA_1"),
        sa.Column("state_id", sa.Text, nullable=False, comment="State of the store, e.g. CA"),
        sa.UniqueConstraint("item_id", "store_id"),
        comment="One row for each item in each store that was ever forecast",
        schema=_SCHEMA,
    )
    op.create_table(
        "forecast",
        sa.Column("week", sa.Date, primary_key=True, comment=_WEEK),
        sa.Column("series_id", sa.Integer, primary_key=True, autoincrement=False, comment="The series, see series"),
        sa.Column("date", sa.Date, primary_key=True, comment="The day that is forecast"),
        sa.Column(
            "gbm", sa.REAL, nullable=False, comment="Forecast of the gradient-boosted trees, units sold that day"
        ),
        sa.Column("lstm", sa.REAL, nullable=False, comment="Forecast of the LSTM network, units sold that day"),
        sa.Column("ensemble", sa.REAL, nullable=False, comment="The forecast to use, units sold that day"),
        postgresql_partition_by="LIST (week)",
        comment="Daily unit forecasts of every series, 28 days from each week; one partition a week",
        schema=_SCHEMA,
    )
    op.create_table(
        "accuracy",
        sa.Column("week", sa.Date, primary_key=True, comment=_WEEK),
        sa.Column("model", sa.Text, primary_key=True, comment="Whose forecast"),
        sa.Column(
            "level",
            sa.SmallInteger,
            sa.CheckConstraint("level BETWEEN 0 AND 12", name="accuracy_level_check"),
            primary_key=True,
            autoincrement=False,
            comment="Aggregation level, 1 (total) to 12 (item-store); 0: the mean of the twelve",
        ),
        sa.Column("wrmsse", sa.Double, nullable=False, comment="Weighted root mean squared scaled error"),
        sa.Column("bias", sa.Double, comment="Units forecast over units sold, less 1; null: nothing sold"),
        comment="Accuracy of each week's forecasts",
        schema=_SCHEMA,
    )
    op.create_table(
        "load_log",
        sa.Column("load_id", sa.BigInteger, sa.Identity(always=True), primary_key=True, comment="Number of the load"),
        sa.Column("week", sa.Date, nullable=False, comment=_WEEK),
        sa.Column("table_name", sa.Text, nullable=False, comment="The table that was loaded"),
        sa.Column("rows", sa.BigInteger, nullable=False, comment="Rows that the week has since this load"),
        sa.Column("sha256", sa.Text, nullable=False, comment="Hash of the rows' content: equal hashes, equal rows"),
        sa.Column("run_id", sa.Text, nullable=False, comment="The Dagster run that loaded them"),
        sa.Column(
            "loaded_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="When the load's transaction began",
        ),
        comment="One row for each load of a week into a table",
        schema=_SCHEMA,
    )
