"""Loads of the tables without series: what they replace and what they reject."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from m5_assets.resources.postgres import load, schema
from m5_assets_tests.resources.test_postgres_load import RUN, WEEK, ask, forecast_of, load_forecast

OTHER = dt.date(2016, 3, 21)


def accuracy_of(wrmsse: float) -> pd.DataFrame:
    rows = [
        (model, level, horizon_week, wrmsse, wrmsse, 1.0, -0.01)
        for model in ("gbm", "ensemble")
        for level in range(13)
        for horizon_week in range(5)
    ]
    columns = ["model", "level", "horizon_week", "wrmsse", "rmsse", "mae", "bias"]
    return pd.DataFrame(rows, columns=columns).assign(name="level")


def load_accuracy(engine: Engine, week: dt.date, frame: pd.DataFrame) -> load.LoadResult:
    return load.load_week(engine, schema.accuracy, week, pa.Table.from_pandas(frame, preserve_index=False), RUN)


def test_accuracy_replaces_only_its_week(engine: Engine) -> None:
    load_accuracy(engine, OTHER, accuracy_of(0.9))
    first = load_accuracy(engine, WEEK, accuracy_of(0.6))
    again = load_accuracy(engine, WEEK, accuracy_of(0.6).iloc[::-1])
    assert again == first
    unsold = accuracy_of(0.5).assign(bias=np.nan)
    assert load_accuracy(engine, WEEK, unsold.iloc[:13]).sha256 != first.sha256
    found = ask(engine, "SELECT week, count(*), max(wrmsse), max(bias) FROM m5.accuracy GROUP BY week ORDER BY week")
    assert found == [(OTHER, 130, 0.9, -0.01), (WEEK, 13, 0.5, None)]
    assert ask(engine, "SELECT DISTINCT level_name FROM m5.bi_accuracy WHERE level = 12") == [("item x store",)]

    for wrong in (accuracy_of(0.1).replace({"level": {12: 13}}), pd.concat([accuracy_of(0.1), accuracy_of(0.1)])):
        with pytest.raises(IntegrityError):
            load_accuracy(engine, WEEK, wrong)
    with pytest.raises(ValueError, match=r"missing columns .'bias'."):
        load_accuracy(engine, WEEK, accuracy_of(0.1).drop(columns="bias"))
    with pytest.raises(ValueError, match="accuracy: 130 rows have no mae"):
        load_accuracy(engine, WEEK, accuracy_of(0.1).assign(mae=np.nan))
    assert ask(engine, "SELECT week, count(*) FROM m5.accuracy GROUP BY week ORDER BY week") == [
        (OTHER, 130),
        (WEEK, 13),
    ]


def test_concurrent_loads_of_accuracy_leave_one_of_them(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: load_accuracy(engine, WEEK, accuracy_of(n / 8)), range(8)))
    assert ask(engine, "SELECT count(*), max(wrmsse) - min(wrmsse) FROM m5.accuracy") == [(130, 0.0)]
    assert ask(engine, "SELECT count(*) FROM m5.load_log") == [(8,)]


def aggregates(rmsse: float) -> pa.Table:
    rows = [
        {"model": "gbm", "level": 1, "units": 9, "weight": 1 / 12, "rmsse": rmsse, "mae": 1.0, "bias": 0.1},
        {"model": "gbm", "level": 3, "state_id": "CA", "store_id": "CA_1", "units": 9, "weight": 1 / 12, "mae": 1.0},
    ]
    keys = ["state_id", "store_id", "cat_id", "dept_id", "item_id"]
    frame = pd.DataFrame(rows, columns=["model", "level", *keys, "units", "weight", "rmsse", "mae", "bias"])
    return pa.Table.from_pandas(frame, preserve_index=False)


def test_an_aggregate_has_one_row_per_week(engine: Engine) -> None:
    for week, rmsse in ((OTHER, 0.5), (WEEK, 0.6), (WEEK, 0.7)):
        load.load_week(engine, schema.aggregate_accuracy, week, aggregates(rmsse), RUN)
    query = "SELECT week, level_name, store_id, rmsse, bias FROM m5.bi_aggregate_accuracy ORDER BY week, level"
    assert ask(engine, query) == [
        (OTHER, "total", None, 0.5, 0.1),
        (OTHER, "store", "CA_1", None, None),
        (WEEK, "total", None, 0.7, 0.1),
        (WEEK, "store", "CA_1", None, None),
    ]
    twice = pa.concat_tables([aggregates(0.1), aggregates(0.2)])
    with pytest.raises(IntegrityError):  # null keys count as equal
        load.load_week(engine, schema.aggregate_accuracy, WEEK, twice, RUN)


def sales_of(units: int) -> pa.Table:
    table = forecast_of(4, days=7).drop_columns(["gbm", "lstm", "ensemble", "average"])
    dates = [WEEK + dt.timedelta(days=i % 7) for i in range(table.num_rows)]
    table = table.set_column(table.column_names.index("date"), "date", pa.array(dates, pa.date32()))
    return table.append_column("units", pa.array([units] * table.num_rows, pa.int32()))


def totals_of(table: pa.Table) -> pa.Table:
    summed = table.group_by(["store_id", "state_id", "dept_id", "date"]).aggregate([("units", "sum")])
    return summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names])


def test_totals_replace_their_week_and_must_match_the_sales(engine: Engine) -> None:
    earlier = totals_of(sales_of(1))
    earlier = earlier.set_column(
        3, "date", pa.array([day - dt.timedelta(days=7) for day in earlier["date"].to_pylist()], pa.date32())
    )
    load.load_store_dept_sales(
        engine, WEEK - dt.timedelta(days=7), earlier, RUN
    )  # that week has no sales in the database
    load.load_series(engine, schema.sales, WEEK, [sales_of(3)], RUN)
    load.load_store_dept_sales(engine, WEEK, totals_of(sales_of(3)), RUN)
    load.load_store_dept_sales(engine, WEEK, totals_of(sales_of(3)), RUN)
    query = "SELECT count(*), sum(units) FROM m5.store_dept_sales"
    assert ask(engine, query) == [(2 * earlier.num_rows, 8 * 7 * (1 + 3))]
    with pytest.raises(load.Contradiction, match=r"42 totals differ .* CA_1, FOODS_1, 2016-04-18: total 10, sum"):
        load.load_store_dept_sales(engine, WEEK, totals_of(sales_of(5)), RUN)
    with pytest.raises(load.Contradiction, match="total missing, sum 3"):
        load.load_store_dept_sales(engine, WEEK, totals_of(sales_of(3)).slice(0, 41), RUN)
    with pytest.raises(ValueError, match="2016-04-11 to 2016-04-17 are outside the week 2016-04-18"):
        load.load_store_dept_sales(engine, WEEK, earlier, RUN)
    assert ask(engine, query) == [(2 * earlier.num_rows, 8 * 7 * (1 + 3))]


def totals_forecast_of(value: float) -> pa.Table:
    table = totals_of(sales_of(1)).drop_columns(["units"])
    for name in ("gbm", "lstm", "average", "totals", "ensemble"):
        table = table.append_column(name, pa.array([value] * table.num_rows))
    return table


def test_bi_reads_history_and_the_newest_forecast_in_one_view(engine: Engine) -> None:
    load.load_store_dept_sales(engine, WEEK, totals_of(sales_of(3)), RUN)
    for week in (OTHER, WEEK):
        load.load_week(engine, schema.store_dept_forecast, week, totals_forecast_of(float(week.month)), RUN)
    load_forecast(engine, WEEK, forecast_of(4))
    rows = len(totals_forecast_of(0))
    found = ask(
        engine, "SELECT week, cat_id, count(units), count(ensemble), max(ensemble) FROM m5.bi_store_dept GROUP BY 1, 2"
    )
    assert sorted(found, key=str) == [(None, "FOODS", rows, 0, None), (WEEK, "FOODS", 0, rows, 4.0)]


def calendar_of(days: int) -> tuple[pa.Table, pa.Table]:
    dates = pd.date_range("2016-01-01", periods=days).date
    none = [None] * (days - 1)
    calendar = pa.table(
        {
            "date": pa.array(dates),
            "d": range(1, days + 1),
            "event_name_1": ["NewYear", *none],
            "event_type_1": ["National", *none],
            "event_name_2": pa.array([None, *none], pa.string()),
            "event_type_2": pa.array([None, *none], pa.string()),
        }
    )
    return calendar, pa.table({"state_id": ["CA", "TX"], "date": pa.array([dates[0], dates[-1]])})


def test_the_calendar_is_replaced_as_a_whole(engine: Engine) -> None:
    for days in (9, 5):
        load.load_calendar(engine, *calendar_of(days), RUN)
        assert ask(engine, "SELECT count(*), count(event_name_1), max(d) FROM m5.calendar") == [(days, 1, days)]
        assert ask(engine, "SELECT state_id, date FROM m5.snap ORDER BY 1")[1] == ("TX", dt.date(2016, 1, days))
    with pytest.raises(IntegrityError, match="snap"):  # a SNAP day outside the calendar
        load.load_calendar(engine, calendar_of(3)[0], calendar_of(5)[1], RUN)
    assert ask(engine, "SELECT count(*) FROM m5.calendar") == [(5,)]


def test_freshness_shows_the_newest_load_of_each_table(engine: Engine) -> None:
    load.load_calendar(engine, *calendar_of(9), RUN)
    load_accuracy(engine, WEEK, accuracy_of(0.6))
    load_accuracy(engine, OTHER, accuracy_of(0.6))
    load.load_week(engine, schema.accuracy, WEEK, pa.Table.from_pandas(accuracy_of(0.5).iloc[:7]), "newest")
    found = ask(engine, "SELECT table_name, week, rows, run_id FROM m5.bi_freshness")
    assert found == [("accuracy", WEEK, 7, "newest"), ("calendar", None, 9, RUN), ("snap", None, 2, RUN)]
    assert load.loaded_weeks(engine, schema.accuracy) == {WEEK, OTHER}
