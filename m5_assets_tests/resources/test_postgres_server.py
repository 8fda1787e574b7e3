"""The embedded server: one per home, from any process, after any kill."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine, text

from m5_assets.private_folder import is_open
from m5_assets.resources.postgres.embedded_server import EmbeddedServer
from m5_assets.resources.postgres.server_binaries import PostgresError
from m5_assets_tests.resources.conftest import new_home

fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    with new_home() as home:
        yield EmbeddedServer(home)


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


def run(server: EmbeddedServer, statement: str) -> list[object]:
    engine = create_engine(server.ensure_running())
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def wait_for(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]  # a lambda
        assert time.monotonic() < deadline, "the condition never became true"
        time.sleep(0.01)


def test_a_home_without_a_server(home: Path) -> None:
    server = EmbeddedServer(home)
    assert not server.status().running
    server.stop()
    assert list(home.iterdir()) == []


def test_many_processes_and_threads_start_one_server_that_outlives_them(home: Path) -> None:
    def start(pipe: multiprocessing.connection.Connection) -> None:
        with ThreadPoolExecutor(3) as threads:
            jobs = [threads.submit(EmbeddedServer(home).ensure_running) for _ in range(3)]
            pipe.send([(job.result().port, EmbeddedServer(home).status().pid) for job in jobs])

    receivers, processes = [], []
    for _ in range(4):
        receiver, sender = fork.Pipe(duplex=False)
        processes.append(fork.Process(target=start, args=(sender,)))
        receivers.append(receiver)
        processes[-1].start()
        sender.close()
    found = {server for receiver in receivers for server in receiver.recv()}
    for process in processes:
        process.join()
    assert len(found) == 1
    status = EmbeddedServer(home).status()
    assert status.running
    assert found == {(status.port, status.pid)}


def test_it_starts_after_its_first_start_was_killed(home: Path) -> None:
    server = EmbeddedServer(home)
    process = fork.Process(target=server.ensure_running)
    process.start()
    wait_for(lambda: list(server.folder.glob("initdb-*/PG_VERSION")))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (server.folder / "data").exists()
    assert run(server, "SELECT 1") == [(1,)]
    assert not list(server.folder.glob("initdb-*"))


def test_a_restart_keeps_the_data_and_the_address(server: EmbeddedServer) -> None:
    run(server, "CREATE TABLE m5.kept (n int)")
    run(server, "INSERT INTO m5.kept VALUES (1)")
    url = server.ensure_running()
    server.stop()
    assert not server.status().running
    assert server.ensure_running() == url
    assert run(server, "SELECT * FROM m5.kept") == [(1,)]


def test_it_recovers_from_a_kill(server: EmbeddedServer) -> None:
    run(server, "CREATE TABLE m5.survived (n int)")
    run(server, "INSERT INTO m5.survived VALUES (1)")
    killed = server.status().pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    assert run(server, "SELECT * FROM m5.survived") == [(1,)]
    assert server.status().pid != killed


def test_a_stale_pid_file_of_another_process_is_ignored(server: EmbeddedServer) -> None:
    server.ensure_running()
    pid_file = server.folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert not server.status().running
    assert run(server, "SELECT 1") == [(1,)]


def test_a_home_that_was_moved_keeps_its_running_server_and_a_copy_has_none(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    server.ensure_running()
    before, home = server.status(), server.folder.parent
    moved = EmbeddedServer(home.rename(f"{home}-moved"))
    try:
        moved.ensure_running()
        assert (moved.status().pid, moved.status().port) == (before.pid, before.port)
        (tmp_path / "postgres" / "data").mkdir(parents=True)
        pid_file = (moved.folder / "data" / "postmaster.pid").read_text()
        (tmp_path / "postgres" / "data" / "postmaster.pid").write_text(pid_file)
        assert not EmbeddedServer(tmp_path).status().running
    finally:
        moved.stop()
        moved.folder.parent.rename(home)
    assert run(server, "SELECT 1") == [(1,)]


def test_it_moves_to_another_port_if_its_own_is_taken(server: EmbeddedServer) -> None:
    port = server.ensure_running().port
    server.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port or 0))
        thief.listen()
        other = server.ensure_running().port
        assert other != port
        assert run(server, "SELECT 1") == [(1,)]
    server.stop()
    assert server.ensure_running().port == other


def test_it_accepts_only_local_connections_with_the_password(server: EmbeddedServer) -> None:
    url = server.ensure_running()
    password = server.folder / "passwords" / "m5_owner"
    logs = "".join(path.read_text() for path in (server.folder / "logs").iterdir())
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.folder.parent.stat().st_mode) == 0o755  # as the fixture made it
    assert password.read_text() not in repr(url) + str(url) + logs
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host="127.0.0.1", port=url.port, user="m5_owner", password="guess", dbname="m5")
    with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
        elsewhere.connect(("127.0.0.2", url.port))


def test_a_failed_start_says_why(server: EmbeddedServer) -> None:
    server.ensure_running()
    server.stop()
    settings = server.folder / "data" / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text("max_connections = many\n")
    try:
        with pytest.raises(PostgresError, match='invalid value for parameter "max_connections"'):
            server.ensure_running()
    finally:
        settings.write_text(before)
    assert run(server, "SELECT 1") == [(1,)]


def test_a_missing_password_file_is_named(server: EmbeddedServer) -> None:
    server.ensure_running()
    password = server.folder / "passwords" / "m5_owner"
    aside = password.rename(password.with_name("aside"))
    try:
        with pytest.raises(PostgresError, match="restore"):
            server.ensure_running()
    finally:
        aside.rename(password)


def test_an_interrupted_creation_of_the_roles_is_completed(server: EmbeddedServer) -> None:
    run(server, "CREATE TABLE m5.before (n int)")
    passwords = server.folder / "passwords"
    kept = (passwords / "m5_reader").read_text()
    (passwords / "m5_owner").unlink()
    (server.folder / "layout").unlink()
    assert run(server, "SELECT count(*) FROM m5.before") == [(0,)]
    assert (passwords / "m5_reader").read_text() == kept
    assert stat.S_IMODE((passwords / "m5_owner").stat().st_mode) == 0o600


@pytest.fixture
def no_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `unshare` fail as in a container that forbids user namespaces."""
    command = tmp_path / "unshare"
    command.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


needs_system_postgres = pytest.mark.skipif(
    os.geteuid() != 0
    or not list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    or "postgres" not in {account.pw_name for account in pwd.getpwall()},
    reason="needs root and the distribution's PostgreSQL with its account",
)


@needs_system_postgres
@pytest.mark.usefixtures("no_namespaces")
def test_root_without_namespaces_uses_the_system_postgres(home: Path) -> None:
    server = EmbeddedServer(home)
    assert run(server, "SELECT current_user::text") == [("m5_owner",)]
    pid = server.status().pid
    assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam("postgres").pw_uid
    server.stop()
    assert run(server, "SELECT 1") == [(1,)]


@needs_system_postgres
@pytest.mark.usefixtures("no_namespaces")
def test_root_without_namespaces_names_an_inaccessible_folder(home: Path) -> None:
    home.chmod(0o700)
    with pytest.raises(PostgresError, match="has no access to"):
        EmbeddedServer(home / "below").ensure_running()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@needs_system_postgres
@pytest.mark.usefixtures("no_namespaces")
def test_root_without_namespaces_lets_postgres_pass_through_a_private_home(home: Path) -> None:
    server = EmbeddedServer(home / "new")
    assert run(server, "SELECT 1") == [(1,)]
    private = (home / "new").stat()
    assert stat.S_IMODE(private.st_mode) == 0o710  # entered by the group, listed by nobody else
    assert private.st_gid == pwd.getpwnam("postgres").pw_gid
    assert not is_open(home / "new")
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop its privileges")
@pytest.mark.usefixtures("no_namespaces")
def test_root_with_neither_gets_a_remedy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m5_assets.resources.postgres.server_binaries._system_programs", lambda: None)
    with pytest.raises(PostgresError, match="M5_DATABASE_URL"):
        EmbeddedServer(home).ensure_running()


def test_it_keeps_seven_days_of_logs(server: EmbeddedServer) -> None:
    server.ensure_running()
    query = "SELECT name || '=' || setting FROM pg_settings WHERE name LIKE 'log_%rotation%'"
    options = (server.folder / "data" / "postmaster.opts").read_text()
    assert "log_filename=%a.log" in options  # one file per weekday, truncated a week later
    assert set(run(server, query)) == {
        ("log_rotation_age=1440",),
        ("log_rotation_size=0",),
        ("log_truncate_on_rotation=on",),
    }
    (server.folder / "log").write_text("the single log file of an earlier version")
    server.stop()
    server.ensure_running()
    assert not (server.folder / "log").exists()
    logs = {path.name for path in (server.folder / "logs").iterdir()}
    assert "start.log" in logs
    assert logs - {"start.log"} <= {f"{day}.log" for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")}
    assert len(logs) > 1
    assert (server.folder / "logs" / "start.log").stat().st_size < 1000
