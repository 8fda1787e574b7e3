"""The revisions: upgrades keep all data, and every database ends up with the same schema."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text

from m5_assets.resources.postgres import load, migrate, schema
from m5_assets.resources.postgres.migrations.versions import r0002_planning_tables
from m5_assets_tests.resources.test_postgres_load import WEEK, ask, forecast_of, load_forecast

FIRST_VERSION = """
    INSERT INTO m5.series VALUES (1, 'FOODS_1_000', 'FOODS_1', 'FOODS', 'CA_1', 'CA'),
        (2, 'FOODS_1_000', 'FOODS_1', 'FOODS', 'TX_2', 'TX'),
        (3, 'HOBBIES_1_001', 'HOBBIES_1', 'HOBBIES', 'CA_1', 'CA');
    CREATE TABLE m5.forecast_2016_04_18 PARTITION OF m5.forecast FOR VALUES IN ('2016-04-18');
    CREATE TABLE m5.forecast_2016_03_21 PARTITION OF m5.forecast FOR VALUES IN ('2016-03-21');
    INSERT INTO m5.forecast SELECT week::date, series, week::date + 7 + day, series + day / 28.0, 0.25, day
        FROM unnest(ARRAY['2016-04-18', '2016-03-21']) week, generate_series(1, 3) series, generate_series(0, 27) day;
    INSERT INTO m5.accuracy SELECT '2016-03-21', model, level, 0.5 + level, CASE WHEN level > 0 THEN -0.25 END
        FROM unnest(ARRAY['gbm', 'ensemble']) model, generate_series(0, 12) level;
    INSERT INTO m5.load_log (week, table_name, rows, sha256, run_id) VALUES
        ('2016-04-18', 'forecast', 84, 'f', 'first'),
        ('2016-03-21', 'forecast', 84, 'e', 'first'), ('2016-03-21', 'accuracy', 26, 'a', 'first')"""
CONTENT = (
    "SELECT week, item_id, dept_id, cat_id, store_id, state_id, f.series_id, date, gbm, lstm, ensemble "
    "FROM m5.forecast f JOIN {series} s ON f.series_id = s.series_id ORDER BY 1, 7, 8",
    "SELECT week, model, level, wrmsse, bias FROM m5.accuracy ORDER BY 1, 2, 3",
    "SELECT * FROM m5.load_log ORDER BY load_id",
)


@pytest.fixture
def first_version(engine: Engine) -> Engine:
    """Return a database as the platform's first version created and filled it, before there were revisions."""
    config = Config()
    config.set_main_option("script_location", "m5_assets:resources/postgres/migrations")
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA m5 CASCADE"))
        connection.execute(text("CREATE SCHEMA m5"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("DROP TABLE m5.alembic_version"))
        connection.execute(text(FIRST_VERSION))
    return engine


def test_a_filled_database_of_the_first_version_loses_nothing(first_version: Engine) -> None:
    before = [ask(first_version, query.format(series="m5.series")) for query in CONTENT]
    assert [len(rows) for rows in before] == [2 * 3 * 28, 26, 3]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate.upgrade, [first_version] * 4))
    assert [ask(first_version, query.format(series="m5.series_hierarchy")) for query in CONTENT] == before
    assert ask(first_version, "SELECT count(sell_price), count(average) FROM m5.forecast") == [(0, 0)]
    assert ask(first_version, "SELECT DISTINCT horizon_week, rmsse, mae FROM m5.accuracy") == [(0, None, None)]

    # Loads still work: a week is replaced and known series keep their numbers.
    result = load_forecast(first_version, WEEK, forecast_of(2))
    assert load.read_forecast(first_version, WEEK).num_rows == result.rows
    numbers = "SELECT series_id, item_id, store_id FROM m5.series ORDER BY 1"
    assert ask(first_version, numbers)[:2] == [(1, "FOODS_1_000", "CA_1"), (2, "FOODS_1_000", "TX_2")]
    assert load.loaded_weeks(first_version, schema.forecast) == {WEEK, dt.date(2016, 3, 21)}


def test_an_item_with_two_departments_is_named_and_nothing_changes(first_version: Engine) -> None:
    ask_all = "SELECT * FROM m5.series ORDER BY 1"
    with first_version.begin() as connection:
        connection.execute(text("UPDATE m5.series SET dept_id = 'FOODS_2' WHERE series_id = 2"))
    before = ask(first_version, ask_all)
    with pytest.raises(RuntimeError, match=r"item FOODS_1_000 has more than one dept_id, cat_id.*UPDATE m5.series"):
        migrate.upgrade(first_version)
    assert ask(first_version, ask_all) == before


def test_the_revisions_create_the_tables_of_the_schema_module(engine: Engine) -> None:
    elsewhere = create_engine(engine.url, connect_args={"options": "-csearch_path=public"})
    with elsewhere.connect() as connection:
        options = {
            "version_table_schema": schema.SCHEMA,
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == schema.SCHEMA,
            "compare_type": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        found = [part for change in compare_metadata(context, schema.metadata) for part in _flat(change)]
    elsewhere.dispose()
    assert [change for change in found if change[0] not in ("modify_comment", "remove_table_comment")] == []


def _flat(change: object) -> list[tuple[object, ...]]:
    return [change] if isinstance(change, tuple) else [part for one in change for part in _flat(one)]  # type: ignore[attr-defined]  # Alembic nests lists of tuples


def test_every_table_column_and_view_has_a_comment(engine: Engine) -> None:
    load_forecast(engine, WEEK, forecast_of(2))
    relations = (
        "SELECT c.relname::text, obj_description(c.oid, 'pg_class') IS NOT NULL, bool_and(col_description(c.oid, "
        "a.attnum) IS NOT NULL) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT "
        "a.attisdropped WHERE c.relnamespace = 'm5'::regnamespace AND c.relkind IN ('r', 'p', 'v') GROUP BY 1, 2"
    )
    found = {row[0]: row[1:] for row in ask(engine, relations)}
    assert {name for name, explained in found.items() if explained != (True, True)} == set()
    views = r0002_planning_tables._VIEW_QUERIES
    assert set(found) == {t.name for t in schema.metadata.tables.values()} | set(views) | {
        "alembic_version",
        "forecast_2016_04_18",
    }


def described(engine: Engine) -> str:
    """Return the tables, views and columns with their comments in the format of docs/database.md."""
    query = (
        "SELECT c.relname::text, c.relkind = 'v', obj_description(c.oid, 'pg_class'), a.attname::text, "
        "replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz'), "
        "CASE WHEN a.attnotnull OR c.relkind = 'v' THEN '' ELSE ', may be null' END, col_description(c.oid, a.attnum) "
        "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE "
        "c.relnamespace = 'm5'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition ORDER BY 2, 1, "
        "a.attnum"
    )
    lines: list[str] = []
    for name, _, comment, column, kind, null, meaning in ask(engine, query):
        heading = f"### {name}\n\n{comment}.\n\n| column | type | what it is |\n| --- | --- | --- |"
        lines += [heading] if heading not in lines else []
        lines.append(f"| {column} | {kind}{null} | {meaning} |")
    return "\n".join(lines).replace("|\n###", "|\n\n###")


def test_the_docs_describe_every_table_view_and_column(engine: Engine) -> None:
    assert described(engine) in (Path(__file__).parents[2] / "docs" / "database.md").read_text()


def test_a_database_of_a_newer_version_is_rejected(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE m5.alembic_version SET version_num = '9999'"))
    with pytest.raises(migrate.UnknownRevision, match="revision 9999, which this version of the platform does not"):
        migrate.upgrade(engine)


def test_an_up_to_date_database_is_not_touched(engine: Engine) -> None:
    files = "SELECT oid, xmin::text FROM pg_class WHERE relnamespace = 'm5'::regnamespace ORDER BY 1"
    before = ask(engine, files)
    migrate.upgrade(engine)
    assert ask(engine, files) == before
