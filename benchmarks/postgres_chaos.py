"""Kills the loader or PostgreSQL during a load, many times, and checks that no data is lost or half loaded.

    python benchmarks/postgres_chaos.py [--kills 20] [--series 30490] [--seed 1]

A week of forecasts is loaded again and again, each time with a new value in every row. At a random moment of the load,
SIGKILL goes either to the loading process or to PostgreSQL and all its processes. After each kill, PostgreSQL is
restarted if needed and its contents are checked: the week is entirely the old or the new one, another week and the
series are unchanged, the log of loads matches, and no unfinished table is left.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
from postgres_load import WEEK, week_of
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from m5_assets.resources.postgres import migrate, schema
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.load import load_series

OTHER_WEEK, WARM_UP = (WEEK - dt.timedelta(days=days) for days in (7, 14))
STATE = {
    "week": "SELECT count(*), min(gbm), max(gbm), min(ensemble), max(ensemble) FROM m5.forecast WHERE week = :week",
    "series": "SELECT count(*), min(series_id), max(series_id) FROM m5.series_hierarchy",
    "unfinished": "SELECT count(*) FROM pg_class WHERE relname LIKE '%loading%'",
    "logged": "SELECT run_id FROM m5.load_log WHERE week = :week ORDER BY load_id DESC LIMIT 1",
}


def with_value(table: pa.Table, value: int) -> pa.Table:
    """Return the rows with the same value for every model and day."""
    for name in ("gbm", "lstm", "average", "ensemble"):
        constant = pa.array([float(value)] * table.num_rows, pa.float32())
        table = table.set_column(table.column_names.index(name), name, constant)
    return table


def load(home: Path, table: pa.Table, value: int, begun: Event) -> None:
    """Load a week, as a separate process; exit with 1 if PostgreSQL goes away."""
    engine = create_engine(EmbeddedServer(home).ensure_running())
    load_series(engine, schema.forecast, WARM_UP, [table], "0")  # the first load of a process is slower
    begun.set()
    try:
        load_series(engine, schema.forecast, WEEK, [table], str(value))
    except OperationalError:
        sys.exit(1)


def kill_server(server: EmbeddedServer) -> None:
    """Kill PostgreSQL and all its processes at once, as a power cut would."""
    pid = server.status().pid
    if pid is None:
        raise RuntimeError("PostgreSQL is not running")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *map(int, children)):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it had ended on its own


def engine_when_quiet(server: EmbeddedServer) -> Engine:
    """Return an engine once no other session is left, as a killed loader's may still be rolling back."""
    engine = create_engine(server.ensure_running())
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if not connection.execute(query).scalar_one():
                return engine
        time.sleep(0.02)
    raise RuntimeError("a session of a killed loader is still there after a minute")


def check(engine: Engine, rows: int, series: int, values: tuple[int, int]) -> int:
    """Return the week's value; exit with a message if anything is wrong."""
    with engine.connect() as connection:
        found = {name: connection.execute(text(query), {"week": WEEK}).one() for name, query in STATE.items()}
        other = connection.execute(text(STATE["week"]), {"week": OTHER_WEEK}).one()
    value = int(found["week"][1] or -1)
    whole = tuple(found["week"]) == (rows, value, value, value, value) and value in values
    untouched = tuple(other) == (rows, 0, 0, 0, 0) and tuple(found["series"]) == (series, 1, series)
    if not (whole and untouched and found["unfinished"][0] == 0 and found["logged"][0] == str(value)):
        sys.exit(f"NOT WHOLE: values {values} were possible; found {found}, other week {other}")
    return value


def left_behind(server: EmbeddedServer, engine: Engine) -> float:
    """Return the megabytes of files in the database's folder that belong to no table.

    PostgreSQL leaves such files behind when it is killed in a transaction.
    """
    with engine.connect() as connection:
        query = "SELECT oid FROM pg_database WHERE datname = current_database()"
        folder = server.folder / "data" / "base" / str(connection.execute(text(query)).scalar_one())
        owned = set(connection.execute(text("SELECT pg_relation_filenode(oid) FROM pg_class")).scalars())
    files = [path for path in folder.iterdir() if path.name[0].isdigit()]
    return sum(path.stat().st_size for path in files if int(re.split(r"[._]", path.name)[0]) not in owned) / 1e6


def main() -> None:
    """Run all kills and checks, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20, help="kills of the loader, and as many of PostgreSQL")
    parser.add_argument("--series", type=int, default=30_490)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    moments, processes = random.Random(options.seed), multiprocessing.get_context("spawn")  # noqa: S311  # no secret
    table = week_of(options.series)
    with tempfile.TemporaryDirectory(prefix="m5-chaos-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        server = EmbeddedServer(home)
        try:
            engine = create_engine(server.ensure_running())
            migrate.upgrade(engine)
            load_series(engine, schema.forecast, OTHER_WEEK, [with_value(table, 0)], "0")
            load_series(engine, schema.forecast, WEEK, [with_value(table, 1)], "1")
            begin = time.monotonic()
            load_series(engine, schema.forecast, WEEK, [with_value(table, 1)], "1")
            span = time.monotonic() - begin
            engine.dispose()
            print(f"{table.num_rows:,} rows per week, a load takes {span:.1f} s", flush=True)
            value, latest = 1, 1
            for victim in ("the loader", "PostgreSQL"):
                killed, kept, late = 0, 0, 0
                while killed < options.kills:
                    latest += 1
                    begun = processes.Event()
                    loader = processes.Process(target=load, args=(home, with_value(table, latest), latest, begun))
                    loader.start()
                    begun.wait()
                    time.sleep(moments.uniform(0, span))
                    if victim == "the loader":
                        loader.kill()
                    else:
                        kill_server(server)
                    loader.join()
                    engine = engine_when_quiet(server)
                    found = check(engine, table.num_rows, options.series, (value, latest))
                    engine.dispose()
                    late += loader.exitcode == 0  # the load had finished
                    killed += loader.exitcode != 0
                    kept += loader.exitcode != 0 and found == value
                    value = found
                print(
                    f"kill -9 of {victim} in {killed} loads (and {late} times just after one): {kept} kept the old "
                    f"week, {killed - kept} had committed the new one; none lost, none half",
                    flush=True,
                )
            engine = engine_when_quiet(server)
            load_series(engine, schema.forecast, WEEK, [with_value(table, latest + 1)], str(latest + 1))
            check(engine, table.num_rows, options.series, (latest + 1, latest + 1))
            print(
                f"a load afterwards: whole; {left_behind(server, engine):.0f} MB of files were left behind by the kills"
            )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
