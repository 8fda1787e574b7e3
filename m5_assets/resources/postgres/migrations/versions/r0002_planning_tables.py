"""The tables for planners and BI: hierarchy, calendar, sales, totals, outlook, accuracy of every aggregate, views.

Splits series into items and stores, and adds the known price and the average before alignment to forecasts, and weeks
of the horizon to accuracy. Existing rows stay; they have no average, price or MAE until their week is loaded again.

Revision: 0002
"""

# ruff: noqa: S608  # the SQL is composed of this file's own names

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SCHEMA = "m5"

_TABLES = {
    "store": "One row for each store",
    "item": "One row for each item, with its place in the product hierarchy",
    "series": "One row for each item in each store that was ever loaded",
    "calendar": "One row for each day, with its events, known in advance",
    "snap": "The days on which food stamps (SNAP) can be used in a state",
    "sales": "Units sold of every series on each of a week's seven days; one partition a week, replaced as a whole",
    "forecast": "Unit forecasts of every series on the 28 days after a week; one partition a week, replaced as a whole",
    "series_outlook": "One row for each series and week: what sold lately and what is forecast, summed to 28 days; one "
    "partition a week, replaced as a whole",
    "store_dept_sales": "Units sold of each department in each store, day by day, over the whole known history",
    "store_dept_forecast": "Unit forecasts of each department in each store on the 28 days after a week",
    "accuracy": "Accuracy of each week's forecasts by level and week of the horizon, once the sales are known",
    "aggregate_accuracy": "Accuracy of each week's forecasts of every aggregate over all 28 days, once the sales are "
    "known; one partition a week, replaced as a whole",
    "load_log": "One row for each load of a week into a table",
    "alembic_version": "The revision of this schema",
}
_VIEWS = {
    "series_hierarchy": "Each series with its item's department and category and its store's state",
    "bi_forecast": "For BI: the newest week's daily forecast of every series, with its hierarchy",
    "bi_store_dept": "For BI: daily units of each department in each store, the history and then the newest forecast",
    "bi_accuracy": "For BI: accuracy by week, model, level and week of the horizon",
    "bi_aggregate_accuracy": "For BI: accuracy of every single aggregate by week and model",
    "bi_outlook": "For BI: the newest week's outlook of every series, with its hierarchy",
    "bi_freshness": "For BI: the newest load of each table",
}

_WEEK = "First day of the week; sales are known through the day six days later, the origin"
_COLUMNS = {
    "week": _WEEK,
    "series_id": "Number of the series; never changes",
    "item_id": "Item, e.g. FOODS_3_090",
    "dept_id": "Department, e.g. FOODS_3",
    "cat_id": "Category, e.g. FOODS",
    "store_id": "Store, e.g. CA_1",
    "state_id": "State, e.g. CA",
    "date": "The day",
    "d": "Number of the day in the M5 competition, 1 is 2011-01-29; null: none",
    "event_name_1": "First event of the day, e.g. SuperBowl; null: none",
    "event_type_1": "Cultural, National, Religious or Sporting; null: no event",
    "event_name_2": "Second event of the day; null: none",
    "event_type_2": "Type of the second event; null: none",
    "units": "Units sold that day",
    "sell_price": "Price of the item in the store, dollars; null: not on offer",
    "gbm": "Forecast of the gradient-boosted trees (LightGBM), units that day",
    "lstm": "Forecast of the LSTM network, units that day",
    "average": "Weighted average of both models before it is aligned to the totals, units that day",
    "totals": "Forecast of the totals' own models, to which the items are aligned, units that day",
    "ensemble": "The forecast to use: the average aligned to the totals, units that day",
    "model": "Whose forecast: gbm, lstm, average (of both), gbm_aligned and lstm_aligned (one aligned to the totals), "
    "ensemble (the average aligned, the one to use) or seasonal_naive (the last seven days repeated)",
    "level": "Aggregation level of the M5 competition, 1 (total) to 12 (item in a store)",
    "level_name": "Name of the level, e.g. store x category",
    "horizon_week": "Week of the horizon, 1 to 4; 0: all 28 days",
    "wrmsse": "Weighted root mean squared scaled error of the level; 0 is perfect",
    "rmsse": "Root mean squared scaled error; null: the scale is zero, as nothing changed before the origin",
    "mae": "Mean absolute error, units a day",
    "bias": "Units forecast over units sold, less 1; null: nothing sold",
    "weight": "Share of the revenue of the 28 days up to the origin, a twelfth for each level; WRMSSE is the sum of "
    "weight times rmsse",
    "forecast_28": "Forecast to use, sum of the 28 days after the origin, units",
    "gbm_28": "Forecast of the gradient-boosted trees, sum of 28 days, units",
    "lstm_28": "Forecast of the LSTM network, sum of 28 days, units",
    "last_28": "Units sold in the 28 days up to the origin",
    "previous_28": "Units sold in the 28 days before those",
    "last_year_28": "Units sold 364 days before the days of the forecast; null: not known, or not on offer yet",
    "zero_days": "Days without a sale up to the origin, as far as the forecast looked back and the item was on offer",
    "nonzero_share_91": "Share of the 91 days up to the origin with a sale",
    "usual_28": "Mean units in 28 days, over the last 91 days or since the item is on offer; 0: it is not yet",
    "next_price": "The first price in the 28 days that differs from that at the origin, dollars; null: none",
    "next_price_date": "The day from which next_price is in force; null: none",
    "first_sale": "First day with a sale, as far as the forecast looked back; null: none",
    "load_id": "Number of the load, in their order",
    "table_name": "The table that was loaded",
    "rows": "Rows that the load wrote",
    "sha256": "Hash of the rows' content: equal hashes, equal rows",
    "run_id": "The Dagster run that loaded them",
    "loaded_at": "When the load's transaction began",
    "version_num": "Number of the revision",
}
_OWN_COLUMNS = {
    ("snap", "date"): "A day on which SNAP benefits may be used",
    ("forecast", "date"): "The day that is forecast",
    ("forecast", "sell_price"): "Known price of that day, dollars; null: not on offer, or loaded before prices were",
    (
        "forecast",
        "average",
    ): "Weighted average of both models before it is aligned to the totals, units that day; null: "
    "loaded before there was an average",
    ("store_dept_forecast", "date"): "The day that is forecast",
    ("series_outlook", "sell_price"): "Price at the origin, dollars; null: not on offer",
    ("bi_outlook", "sell_price"): "Price at the origin, dollars; null: not on offer",
    ("accuracy", "level"): "Aggregation level of the M5 competition, 1 (total) to 12 (item in a store); 0: the mean of "
    "the twelve",
    ("bi_accuracy", "level"): "Aggregation level, 1 (total) to 12 (item in a store); 0: the mean of the twelve",
    (
        "accuracy",
        "rmsse",
    ): "Mean root mean squared scaled error of the level's series, each of the same weight; null: none "
    "has a scale, or loaded before there was an RMSSE",
    ("accuracy", "mae"): "Mean absolute error of the level's series, units a day; null: loaded before there was a MAE",
    ("aggregate_accuracy", "units"): "Units sold in the 28 days",
    ("bi_aggregate_accuracy", "units"): "Units sold in the 28 days",
    ("aggregate_accuracy", "state_id"): "State of the aggregate; null: all",
    ("aggregate_accuracy", "store_id"): "Store of the aggregate; null: all of the state",
    ("aggregate_accuracy", "cat_id"): "Category of the aggregate; null: all",
    ("aggregate_accuracy", "dept_id"): "Department of the aggregate; null: all of the category",
    ("aggregate_accuracy", "item_id"): "Item of the aggregate; null: all of the department",
    ("bi_store_dept", "units"): "Units sold that day; null: the day is forecast",
    ("bi_store_dept", "ensemble"): "The forecast to use, units that day; null: the day is history",
    ("bi_store_dept", "week"): "First day of the week that the forecast is of; null: the day is history",
    ("load_log", "week"): "First day of the week that was loaded; null: a table without weeks",
    ("bi_freshness", "week"): "First day of the newest week in the table; null: a table without weeks",
}
_LEVEL_NAME = """(ARRAY['mean of the levels', 'total', 'state', 'store', 'category', 'department',
    'state x category', 'state x department', 'store x category', 'store x department', 'item', 'item x state',
    'item x store'])[level + 1] AS level_name"""
_VIEW_QUERIES = {
    "series_hierarchy": """
        SELECT series_id, item_id, dept_id, cat_id, store_id, state_id
        FROM m5.series JOIN m5.item USING (item_id) JOIN m5.store USING (store_id)""",
    "bi_forecast": """
        SELECT week, date, item_id, dept_id, cat_id, store_id, state_id, sell_price, gbm, lstm, average, ensemble
        FROM m5.forecast JOIN m5.series_hierarchy USING (series_id)
        WHERE week = (SELECT max(week) FROM m5.load_log WHERE table_name = 'forecast')""",
    "bi_store_dept": """
        SELECT date, store_id, state_id, dept_id, cat_id, units, ensemble, week
        FROM (
            SELECT date, store_id, dept_id, units, NULL::real AS ensemble, NULL::date AS week FROM m5.store_dept_sales
            UNION ALL
            SELECT date, store_id, dept_id, NULL, ensemble, week FROM m5.store_dept_forecast
            WHERE week = (SELECT max(week) FROM m5.load_log WHERE table_name = 'store_dept_forecast')
        ) days
        JOIN m5.store USING (store_id)
        LEFT JOIN (SELECT DISTINCT dept_id, cat_id FROM m5.item) departments USING (dept_id)""",
    "bi_accuracy": f"""
        SELECT week, model, level, {_LEVEL_NAME}, horizon_week, wrmsse, rmsse, mae, bias FROM m5.accuracy""",
    "bi_aggregate_accuracy": f"""
        SELECT week, model, level, {_LEVEL_NAME}, state_id, store_id, cat_id, dept_id, item_id, units, weight, rmsse,
            mae, bias
        FROM m5.aggregate_accuracy""",
    "bi_outlook": """
        SELECT week, item_id, dept_id, cat_id, store_id, state_id, forecast_28, gbm_28, lstm_28, last_28, previous_28,
            last_year_28, zero_days, nonzero_share_91, usual_28, sell_price, next_price, next_price_date, first_sale
        FROM m5.series_outlook JOIN m5.series_hierarchy USING (series_id)
        WHERE week = (SELECT max(week) FROM m5.load_log WHERE table_name = 'series_outlook')""",
    "bi_freshness": """
        SELECT DISTINCT ON (table_name) table_name, week, loaded_at, rows, run_id
        FROM m5.load_log
        ORDER BY table_name, week DESC, load_id DESC""",
}


def upgrade() -> None:
    """Create the new tables, change the old ones, and comment all of them."""
    _split_series()
    _create_daily_tables()
    _create_totals()
    _change_forecast_and_accuracy()
    _create_views()
    _comment()


def _split_series() -> None:
    op.create_table(
        "store",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("state_id", sa.Text, nullable=False),
        schema=_SCHEMA,
    )
    op.create_table(
        "item",
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("dept_id", sa.Text, nullable=False),
        sa.Column("cat_id", sa.Text, nullable=False),
        schema=_SCHEMA,
    )
    for table, attributes in (("store", ["state_id"]), ("item", ["dept_id", "cat_id"])):
        key, columns = f"{table}_id", ", ".join(attributes)
        odd = sa.text(
            f"SELECT {key} FROM m5.series GROUP BY 1 HAVING count(DISTINCT ({columns})) > 1 ORDER BY 1 LIMIT 1"
        )
        found = op.get_bind().execute(odd).scalar()
        if found is not None:
            raise RuntimeError(
                f"cannot split m5.series into items and stores: {table} {found} has more than one {columns}; correct "
                f"its rows (UPDATE m5.series SET ... WHERE {key} = '{found}') and try again; nothing was changed"
            )
        op.execute(f"INSERT INTO m5.{table} SELECT DISTINCT {key}, {columns} FROM m5.series")
        op.create_foreign_key(None, "series", table, [key], [key], source_schema=_SCHEMA, referent_schema=_SCHEMA)
        for column in attributes:
            op.drop_column("series", column, schema=_SCHEMA)


def _create_daily_tables() -> None:
    op.create_table(
        "calendar",
        sa.Column("date", sa.Date, primary_key=True),
        sa.Column("d", sa.Integer),
        *(sa.Column(f"event_{part}_{i}", sa.Text) for i in (1, 2) for part in ("name", "type")),
        schema=_SCHEMA,
    )
    op.create_table(
        "snap",
        sa.Column("state_id", sa.Text, primary_key=True),
        sa.Column("date", sa.Date, sa.ForeignKey("m5.calendar.date"), primary_key=True),
        schema=_SCHEMA,
    )
    op.create_table(
        "sales",
        sa.Column("week", sa.Date),
        sa.Column("series_id", sa.Integer),
        sa.Column("date", sa.Date),
        sa.Column("units", sa.Integer, nullable=False),
        sa.Column("sell_price", sa.REAL),
        sa.PrimaryKeyConstraint("series_id", "date", "week"),
        postgresql_partition_by="LIST (week)",
        schema=_SCHEMA,
    )
    op.create_table(
        "series_outlook",
        sa.Column("week", sa.Date),
        sa.Column("series_id", sa.Integer),
        *(sa.Column(name, sa.REAL, nullable=False) for name in ("forecast_28", "gbm_28", "lstm_28")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("last_28", "previous_28")),
        sa.Column("last_year_28", sa.Integer),
        sa.Column("zero_days", sa.Integer, nullable=False),
        *(sa.Column(name, sa.REAL, nullable=False) for name in ("nonzero_share_91", "usual_28")),
        *(sa.Column(name, sa.REAL) for name in ("sell_price", "next_price")),
        *(sa.Column(name, sa.Date) for name in ("next_price_date", "first_sale")),
        sa.PrimaryKeyConstraint("series_id", "week"),
        postgresql_partition_by="LIST (week)",
        schema=_SCHEMA,
    )


def _create_totals() -> None:
    op.create_table(
        "store_dept_sales",
        sa.Column("store_id", sa.Text, sa.ForeignKey("m5.store.store_id"), primary_key=True),
        sa.Column("dept_id", sa.Text, primary_key=True),
        sa.Column("date", sa.Date, primary_key=True),
        sa.Column("units", sa.Integer, nullable=False),
        schema=_SCHEMA,
    )
    op.create_table(
        "store_dept_forecast",
        sa.Column("week", sa.Date, primary_key=True),
        sa.Column("store_id", sa.Text, sa.ForeignKey("m5.store.store_id"), primary_key=True),
        sa.Column("dept_id", sa.Text, primary_key=True),
        sa.Column("date", sa.Date, primary_key=True),
        *(sa.Column(name, sa.REAL, nullable=False) for name in ("gbm", "lstm", "average", "totals", "ensemble")),
        schema=_SCHEMA,
    )


def _change_forecast_and_accuracy() -> None:
    for name in ("sell_price", "average"):
        op.add_column("forecast", sa.Column(name, sa.REAL), schema=_SCHEMA)
    # A series' history is read across partitions, and the week is constant within one, so the series comes first.
    op.drop_constraint("forecast_pkey", "forecast", schema=_SCHEMA)
    op.create_primary_key("forecast_pkey", "forecast", ["series_id", "date", "week"], schema=_SCHEMA)

    horizon_week = sa.Column("horizon_week", sa.SmallInteger, nullable=False, server_default="0")
    op.add_column("accuracy", horizon_week, schema=_SCHEMA)
    op.alter_column("accuracy", "horizon_week", server_default=None, schema=_SCHEMA)
    op.create_check_constraint(
        "accuracy_horizon_week_check", "accuracy", "horizon_week BETWEEN 0 AND 4", schema=_SCHEMA
    )
    for name in ("rmsse", "mae"):
        op.add_column("accuracy", sa.Column(name, sa.Double), schema=_SCHEMA)
    op.drop_constraint("accuracy_pkey", "accuracy", schema=_SCHEMA)
    op.create_primary_key("accuracy_pkey", "accuracy", ["week", "model", "level", "horizon_week"], schema=_SCHEMA)

    key = ("model", "level", "state_id", "store_id", "cat_id", "dept_id", "item_id", "week")
    op.create_table(
        "aggregate_accuracy",
        sa.Column("week", sa.Date, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("level", sa.SmallInteger, sa.CheckConstraint("level BETWEEN 1 AND 12"), nullable=False),
        *(sa.Column(name, sa.Text) for name in key[2:7]),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("units", "weight")),
        sa.Column("rmsse", sa.Double),
        sa.Column("mae", sa.Double, nullable=False),
        sa.Column("bias", sa.Double),
        sa.UniqueConstraint(*key, postgresql_nulls_not_distinct=True, name="aggregate_accuracy_key"),
        postgresql_partition_by="LIST (week)",
        schema=_SCHEMA,
    )
    op.alter_column("load_log", "week", nullable=True, schema=_SCHEMA)
    op.create_index("load_log_table_week", "load_log", ["table_name", "week"], schema=_SCHEMA)


def _create_views() -> None:
    for name, query in _VIEW_QUERIES.items():
        op.execute(f"CREATE VIEW m5.{name} AS {query}")


def _comment() -> None:
    columns = sa.text(
        "SELECT c.relname, c.relkind::text, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'm5'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition "
        "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, a.attnum"
    )
    for name, kind, column in op.get_bind().execute(columns).all():
        comment = _OWN_COLUMNS.get((name, column), _COLUMNS[column])
        op.execute(f"COMMENT ON COLUMN m5.{name}.{column} IS {_quoted(comment)}")
        what = "VIEW" if kind == "v" else "TABLE"
        op.execute(f"COMMENT ON {what} m5.{name} IS {_quoted((_VIEWS if kind == 'v' else _TABLES)[name])}")
    op.execute("COMMENT ON SCHEMA m5 IS 'Weekly sales forecasts: what planners, dashboards and BI read'")


def _quoted(comment: str) -> str:
    return "'" + comment.replace("'", "''") + "'"
