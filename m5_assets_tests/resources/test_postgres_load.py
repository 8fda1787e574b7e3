"""Loads of whole weeks: what readers see, and what failures, repeats and concurrent loads leave behind."""

from __future__ import annotations

import datetime as dt
import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from m5_assets.resources.postgres import load, schema
from m5_assets.resources.postgres.copying import copy_from, read_csv
from m5_assets.resources.postgres.load_rows import SeriesRows

WEEK = dt.date(2016, 4, 18)
RUN = "00000000-0000-0000-0000-000000000001"
MODEL_COLUMNS = ("gbm", "lstm", "ensemble", "average")


def forecast_of(count: int = 5, value: float = 1.0, first: int = 0, days: int = 28) -> pa.Table:
    """Return forecasts of `count` items in two stores, all with the same value, sorted by store, item and date."""
    items = [f"FOODS_{1 + i % 3}_{i:03}" for i in range(first, first + count)]
    series = [(item, item[:7], "FOODS", store, store[:2]) for store in ("CA_1", "TX_2") for item in sorted(items)]
    columns = {
        name: np.repeat([row[i] for row in series], days)
        for i, name in enumerate(("item_id", "dept_id", "cat_id", "store_id", "state_id"))
    }
    dates = [WEEK + dt.timedelta(7 + day) for day in range(days)] * len(series)
    values = {name: np.full(len(dates), value, np.float32) for name in ("gbm", "lstm", "ensemble")}
    price = np.full(len(dates), 2.5, np.float32)
    price[:: days + 1] = np.nan  # not on offer
    price_or_null = pa.array(price, from_pandas=True)
    last = {"sell_price": price_or_null, "average": np.full(len(dates), value, np.float32)}
    return pa.table({**columns, "date": pa.array(dates, pa.date32()), **values, **last})


def load_forecast(engine: Engine, week: dt.date, table: pa.Table, run_id: str = RUN) -> load.LoadResult:
    return load.load_series(engine, schema.forecast, week, [table], run_id)


def ask(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def summary(engine: Engine, week: dt.date = WEEK) -> tuple[object, ...]:
    query = f"SELECT count(*), min(gbm), max(ensemble) FROM m5.forecast WHERE week = '{week}'"  # noqa: S608  # a date
    return ask(engine, query)[0]


def test_a_loaded_forecast_is_read_back_exactly(engine: Engine) -> None:
    table = forecast_of()
    rng = np.random.default_rng(0)
    values = rng.gamma(0.3, 5.0, table.num_rows).astype(np.float32)
    values[:4] = [0.0, 1e-45, 3.4e38, 0.1]
    table = table.set_column(table.column_names.index("lstm"), "lstm", pa.array(values))
    result = load_forecast(engine, WEEK, table)
    assert result.rows == table.num_rows
    assert load.read_forecast(engine, WEEK).equals(table)
    with pytest.raises(LookupError, match="2016-04-25"):
        load.read_forecast(engine, dt.date(2016, 4, 25))


def test_a_second_load_changes_nothing_and_is_logged(engine: Engine) -> None:
    table = forecast_of()
    first = load_forecast(engine, WEEK, table)
    ids = ask(engine, "SELECT * FROM m5.series_hierarchy ORDER BY 1")
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    second = load_forecast(engine, WEEK, shuffled, "another run")
    assert (second.rows, second.sha256) == (first.rows, first.sha256)
    assert load.read_forecast(engine, WEEK).equals(table)
    assert ask(engine, "SELECT * FROM m5.series_hierarchy ORDER BY 1") == ids
    assert ask(engine, "SELECT week, table_name, rows, sha256, run_id FROM m5.load_log ORDER BY load_id") == [
        (WEEK, "forecast", first.rows, first.sha256, RUN),
        (WEEK, "forecast", first.rows, first.sha256, "another run"),
    ]
    tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'm5'::regnamespace AND relname ~ '^forecast'"
    assert set(ask(engine, tables)) == {
        ("forecast",),
        ("forecast_pkey",),
        ("forecast_2016_04_18",),
        ("forecast_2016_04_18_key",),
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_different_content_has_a_different_hash(data: st.DataObject) -> None:
    table = forecast_of(2, days=3)
    column = data.draw(st.sampled_from(table.column_names))
    row = data.draw(st.integers(0, table.num_rows - 1))
    values = table[column].to_pylist()
    if column == "date":
        values[row] += dt.timedelta(days=40)
    elif column in MODEL_COLUMNS:
        values[row] = data.draw(st.floats(0, 100, width=32).filter(lambda value: value != 1.0))
    elif column in ("item_id", "store_id"):
        values[row] += "x"
    elif column == "sell_price":
        values[row] = 9.5 if values[row] is None else None
    else:  # an attribute belongs to all days of all series
        values = ["x"] * len(values)
    changed = table.set_column(
        table.column_names.index(column), column, pa.array(values, table.schema.field(column).type)
    )
    assert SeriesRows.of(schema.forecast, changed).sha256() != SeriesRows.of(schema.forecast, table).sha256()


def test_a_week_loaded_in_parts_is_complete(engine: Engine) -> None:
    table = forecast_of()
    names = ["item_id", "dept_id", "cat_id", "store_id", "state_id"]
    coded = pa.table({n: table[n].dictionary_encode() if n in names else table[n] for n in table.column_names})
    half = table.num_rows // 2
    parts = [coded.slice(begin, half) for begin in (0, half)]  # one store per part, with the dictionaries of both
    result = load.load_series(engine, schema.forecast, WEEK, parts, RUN)
    assert result.rows == table.num_rows
    assert load.read_forecast(engine, WEEK).equals(table)
    with pytest.raises(IntegrityError, match="forecast_2016_04_18_loading_key"):
        load.load_series(engine, schema.forecast, WEEK, [table, table.slice(0, 28)], RUN)
    with pytest.raises(ValueError, match="no rows"):
        load.load_series(engine, schema.forecast, WEEK, [], RUN)
    assert load.read_forecast(engine, WEEK).equals(table)


def test_series_keep_their_numbers(engine: Engine) -> None:
    later = forecast_of(3, first=3)
    load_forecast(engine, WEEK, later.take(np.random.default_rng(2).permutation(later.num_rows)))
    before = ask(engine, "SELECT series_id, store_id, item_id FROM m5.series ORDER BY series_id")
    assert [row[0] for row in before] == list(range(1, 7))
    assert [row[1:] for row in before] == sorted(row[1:] for row in before)

    load_forecast(engine, dt.date(2016, 4, 25), forecast_of(8))
    after = ask(engine, "SELECT series_id, store_id, item_id FROM m5.series ORDER BY series_id")
    assert after[:6] == before
    assert [row[0] for row in after] == list(range(1, 17))

    moved = forecast_of(1)
    moved = moved.set_column(1, "dept_id", pa.array(["FOODS_9"] * moved.num_rows))
    load_forecast(engine, WEEK, moved)
    assert ask(engine, "SELECT DISTINCT dept_id FROM m5.series_hierarchy WHERE item_id = 'FOODS_1_000'") == [
        ("FOODS_9",)
    ]
    assert ask(engine, "SELECT series_id, store_id, item_id FROM m5.series ORDER BY series_id") == after


def test_a_reader_never_sees_part_of_a_week(engine: Engine) -> None:
    count = forecast_of(200).num_rows
    load_forecast(engine, WEEK, forecast_of(200, 0.0))
    seen: set[tuple[object, ...]] = set()
    stop = threading.Event()

    def read() -> int:
        reads = 0
        while not stop.is_set():
            seen.add(summary(engine))
            reads += 1
        return reads

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            for value in range(1, 9):
                load_forecast(engine, WEEK, forecast_of(200, float(value)))
        finally:
            stop.set()
        assert all(reader.result() > 8 for reader in readers)
    assert len(seen) > 1
    assert seen <= {(count, float(value), float(value)) for value in range(9)}


def test_a_reader_with_an_older_snapshot_sees_a_whole_week(engine: Engine) -> None:
    table = forecast_of()
    load_forecast(engine, WEEK, table)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        reader.execute(text("SELECT count(*) FROM m5.load_log"))  # takes the snapshot
        load_forecast(engine, WEEK, forecast_of(value=2.0))
        assert reader.execute(text("SELECT count(*) FROM m5.load_log")).scalar_one() == 1
        assert reader.execute(text("SELECT count(*) FROM m5.forecast")).scalar_one() == table.num_rows


def test_a_load_killed_at_its_last_step_leaves_the_old_week(engine: Engine) -> None:
    table = forecast_of()
    load_forecast(engine, WEEK, table)
    blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
    with ThreadPoolExecutor(1) as threads, engine.connect() as reader:
        reader.execute(text("SELECT 1 FROM m5.forecast LIMIT 1"))  # its lock blocks the partition swap
        loading = threads.submit(load_forecast, engine, WEEK, forecast_of(9, 2.0))
        wait_for(lambda: len(ask(engine, blocked)) == 1)
        ask(engine, f"SELECT pg_terminate_backend(pid) FROM ({blocked}) AS loading")  # noqa: S608  # the query above
        with pytest.raises(OperationalError, match="terminat"):
            loading.result()
    assert load.read_forecast(engine, WEEK).equals(table)
    assert ask(engine, "SELECT count(*) FROM m5.load_log") == [(1,)]
    assert ask(engine, "SELECT count(*) FROM m5.series") == [(10,)]
    assert load_forecast(engine, WEEK, forecast_of(9, 2.0)).rows == summary(engine)[0]


def test_a_connection_lost_during_copy_raises_operational_error(engine: Engine) -> None:
    load_forecast(engine, WEEK, forecast_of())
    with pytest.raises(OperationalError), engine.begin() as connection:
        copy_from(connection, "m5.load_log FROM STDIN", _Killing(engine, connection))
    with engine.connect() as connection:
        _Killing(engine, connection).read()
        with pytest.raises(OperationalError):
            read_csv(connection, "SELECT 1", {"one": pa.int32()})
    assert summary(engine)[1] == 1.0


class _Killing(io.BytesIO):
    """An endless file of rows that kills the connection's session when it is first read."""

    def __init__(self, engine: Engine, connection: Connection) -> None:
        self._pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        self._engine = engine

    def read(self, size: int | None = -1, /) -> bytes:
        ask(self._engine, f"SELECT pg_terminate_backend({self._pid}, 5000)")
        return b"x" * 4096


def test_a_load_waiting_for_a_long_reader_does_not_block_others(engine: Engine) -> None:
    load_forecast(engine, WEEK, forecast_of())
    locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'm5.forecast'::regclass"
    with ThreadPoolExecutor(1) as threads:
        with engine.connect() as reader:
            reader.execute(text("SELECT 1 FROM m5.forecast LIMIT 1"))  # a long-running report
            loading = threads.submit(load_forecast, engine, WEEK, forecast_of(value=2.0))
            for _ in range(3):
                wait_for(lambda: ask(engine, locks) == [(1,)])  # the load requests its lock
                assert summary(engine)[1] == 1.0  # another reader still gets the old week
            assert not loading.done()
        loading.result()
    assert summary(engine)[1] == 2.0


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.01)


def test_concurrent_loads_of_the_same_week_leave_one_complete_week(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        tables = [forecast_of(20 + n, float(n)) for n in range(4)]
        results = list(threads.map(lambda table: load_forecast(engine, WEEK, table), tables))
    last = ask(engine, "SELECT sha256 FROM m5.load_log ORDER BY load_id DESC LIMIT 1")[0][0]
    winner = [result.sha256 for result in results].index(str(last))
    assert load.read_forecast(engine, WEEK).equals(tables[winner])
    assert ask(engine, "SELECT count(*) FROM m5.load_log") == [(4,)]


def test_concurrent_loads_of_different_weeks_agree_on_new_series(engine: Engine) -> None:
    weeks = [WEEK + dt.timedelta(7 * n) for n in range(4)]
    with ThreadPoolExecutor(4) as threads:
        jobs = [
            threads.submit(load_forecast, engine, week, forecast_of(10, float(n), first=3 * n))
            for n, week in enumerate(weeks * 2)
        ]
        for job in jobs:
            job.result()
    assert [summary(engine, week)[0] for week in weeks] == [10 * 2 * 28] * 4
    assert ask(engine, "SELECT count(*), max(series_id) FROM m5.series") == [(62, 62)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["lstm"]), "missing columns .'lstm'."),
        (lambda t: t.slice(0, 0), "0 rows"),
        (lambda t: t.set_column(7, "lstm", pa.array([None, *[1.0] * (t.num_rows - 1)])), "1 rows have no lstm"),
        (
            lambda t: t.set_column(8, "ensemble", pa.array([1.0, np.inf] * (t.num_rows // 2))),
            "ensemble of row 1 is inf",
        ),
        (lambda t: pa.concat_tables([t, t.slice(30, 1)]), "FOODS_2_001 in store CA_1 has 2016-04-27 more than once"),
        (lambda t: t.set_column(10, "average", pa.array([None, *[1.0] * (t.num_rows - 1)])), "1 rows have no average"),
        (
            lambda t: t.set_column(1, "dept_id", pa.array(["A", *["B"] * (t.num_rows - 1)])),
            "item_id FOODS_1_000 has more than one dept_id",
        ),
        (
            lambda t: t.set_column(4, "state_id", pa.array(["A", *["B"] * (t.num_rows - 1)])),
            "store_id CA_1 has more than one state_id",
        ),
    ],
)
def test_invalid_rows_are_rejected_and_change_nothing(
    engine: Engine, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    load_forecast(engine, WEEK, forecast_of())
    with pytest.raises(ValueError, match=message):
        load_forecast(engine, WEEK, change(forecast_of(2, 5.0)))
    assert summary(engine) == (280, 1.0, 1.0)
