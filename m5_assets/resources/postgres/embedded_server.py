"""The embedded PostgreSQL: a real server of one home folder, started when it is first needed.

The server belongs to the folder, not to the process that started it: it goes on when that process ends, and every
process of the same home uses the same one. It listens on 127.0.0.1 alone and asks for a password that only the
folder's owner can read. Linux only (it reads /proc). Not here: which programs run it (`launcher`), and what is stored
in it (`schema`, `load`).

    <home>/postgres/   data/  logs/  password  port  lock

The server's logs are those of the last seven days, a file a weekday: `logs/Mon.log`, ...; `logs/start.log` holds what
the last start said before it had a log.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from m5_assets.resources.postgres.server_binaries import Launcher, PostgresError, find_launcher

_log = logging.getLogger(__name__)

_USER = _DATABASE = "m5"
_START_SECONDS = 60
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "''",
    "timezone": "UTC",
    # Without replicas a table that is filled in the transaction that created it, as every load is, needs no WAL.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "recovery_init_sync_method": "syncfs",  # the same after a crash
    "logging_collector": "on",
    "log_directory": "../logs",
    "log_filename": "%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
_PASSING = ("still in use", "Address already in use")  # a killed server's last processes; a port lost in a race


@dataclass(frozen=True)
class Status:
    """What is known of a home's server; `pid` and `port` are those of the running one, else None."""

    running: bool
    folder: Path
    pid: int | None = None
    port: int | None = None


@dataclass(frozen=True)
class _Postmaster:
    pid: int
    port: int
    ready: bool


class EmbeddedServer:
    """The PostgreSQL server of one home folder.

    Every method may be called by several processes and threads at once.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home.resolve() / "postgres"
        self._data = self.folder / "data"
        self._logs = self.folder / "logs"

    def ensure_running(self) -> URL:
        """Start the server unless it runs, and return its address with the password in it.

        Raises:
            PostgresError: it cannot run here, or does not start.
        """
        with self._locked() as lock:
            deadline = time.monotonic() + _START_SECONDS
            while time.monotonic() < deadline:
                found = self._postmaster()
                if found is None:
                    self._begin(lock)
                elif found.ready and _answers(found.port):
                    return URL.create(
                        "postgresql+psycopg2", _USER, self._password(), "127.0.0.1", found.port, _DATABASE
                    )
                else:  # it recovers, or is about to end after a kill
                    time.sleep(0.02)
        raise PostgresError(f"PostgreSQL takes no connections after {_START_SECONDS} s; see its logs in {self._logs}")

    def stop(self) -> None:
        """Stop the server, if it runs: open transactions are rolled back, what was committed stays."""
        if not self.folder.exists():
            return
        with self._locked():
            if self._postmaster() is not None:
                find_launcher().run("pg_ctl", "stop", f"--pgdata={self._data}", "--mode=fast", "--wait")
                _log.info("PostgreSQL stopped (%s)", self.folder)

    def status(self) -> Status:
        """Return whether the server runs and takes connections, and where; starts nothing."""
        found = self._postmaster()
        if found is None or not found.ready:
            return Status(False, self.folder)
        return Status(True, self.folder, found.pid, found.port)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)

    def _begin(self, lock: int) -> None:
        launcher = find_launcher()
        self._give_folder(launcher)
        if not self._data.exists():
            self._initialise(launcher, lock)
        self._logs.mkdir(mode=0o700, exist_ok=True)
        if launcher.owner is not None:
            os.chown(self._logs, launcher.owner.pw_uid, launcher.owner.pw_gid)
        (self.folder / "log").unlink(missing_ok=True)  # of versions that had one endless log
        self._start(launcher)

    def _give_folder(self, launcher: Launcher) -> None:
        if launcher.owner is None:
            return
        os.chown(self.folder, launcher.owner.pw_uid, launcher.owner.pw_gid)
        reach = subprocess.run([*launcher.prefix, "test", "-x", str(self.folder)], check=False)
        if reach.returncode != 0:
            raise PostgresError(
                f"the account {launcher.owner.pw_name}, which runs PostgreSQL because root cannot, has no access to "
                f"{self.folder}: choose an M5_HOME whose parent folders it may enter, or set M5_DATABASE_URL"
            )

    def _initialise(self, launcher: Launcher, lock: int) -> None:
        """Create the data folder beside its final place, then move it there."""
        _log.info("PostgreSQL: creating a database in %s, once; about 2 seconds", self._data)
        for remains in self.folder.glob("initdb-*"):
            shutil.rmtree(remains)
        password = self.folder / "password"
        if not password.exists():
            _write(password, secrets.token_urlsafe(24), launcher)
        new = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.folder))
        if launcher.owner is not None:
            os.chown(new, launcher.owner.pw_uid, launcher.owner.pw_gid)
        # The children hold the lock too: should this process be killed, nobody begins before they have ended.
        launcher.run(
            "initdb",
            *(f"--pgdata={new}", f"--username={_USER}", f"--pwfile={password}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--no-locale", "--no-sync"),
            keep=[lock],
        )
        statement = f"CREATE DATABASE {_DATABASE};\n"
        launcher.run("postgres", "--single", "-D", str(new), "postgres", text=statement, keep=[lock])
        os.sync()  # once, where initdb would wait for a thousand files one after the other
        new.rename(self._data)

    def _start(self, launcher: Launcher) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(FileNotFoundError):
                (self._data / "postmaster.pid").unlink()  # no server runs: it was left by a crash or a reboot
            _write(self._logs / "start.log", "", launcher)
            told = {path: path.stat().st_size for path in self._logs.iterdir()}
            options = " ".join(f"-c {name}={value}" for name, value in (_SETTINGS | {"port": self._port()}).items())
            try:
                launcher.run(
                    "pg_ctl",
                    *("start", f"--pgdata={self._data}", f"--log={self._logs / 'start.log'}", f"--options={options}"),
                    *("--wait", f"--timeout={_START_SECONDS}"),
                )
            except PostgresError as error:
                lines = "".join(_text_after(path, told.get(path, 0)) for path in sorted(self._logs.iterdir())).strip()
                if not any(cause in lines for cause in _PASSING) or time.monotonic() > deadline:
                    raise PostgresError(
                        f"PostgreSQL did not start; its logs in {self._logs} end: {lines[-2000:]}"
                    ) from error
                time.sleep(0.1)
            else:
                _log.info("PostgreSQL started (%s)", self.folder)
                return

    def _postmaster(self) -> _Postmaster | None:
        """Return the running server; None if there is none, whatever a stale pid file says."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            command = Path("/proc", lines[0].strip(), "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return None
        if Path(os.fsdecode(command[0])).name != "postgres" or os.fsencode(self._data) not in command:
            return None  # the number now belongs to another process, or to one that ended and was not reaped
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return _Postmaster(int(lines[0]), int(lines[3]) if ready else 0, ready)

    def _port(self) -> str:
        """Return the remembered port if it is free, else a free one, which is then remembered."""
        path = self.folder / "port"
        for port in [int(path.read_text())] if path.exists() else []:
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return str(port)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            _write(path, str(probe.getsockname()[1]))
            return str(probe.getsockname()[1])

    def _password(self) -> str:
        path = self.folder / "password"
        if not path.exists():
            raise PostgresError(f"the embedded PostgreSQL's password is lost: restore {path}, or delete {self.folder}")
        return path.read_text()


def _answers(port: int) -> bool:
    """Return whether a server speaks PostgreSQL's protocol here: it answers a request for TLS with one letter."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
        probe.sendall(struct.pack(">ii", 8, 80877103))  # SSLRequest, "Message Formats" in PostgreSQL's manual
        return probe.recv(1) in (b"N", b"S")
    return False


def _text_after(path: Path, size: int) -> str:
    with path.open(errors="replace") as file:
        file.seek(size)
        return file.read()


def _write(path: Path, text: str, launcher: Launcher | None = None) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(text)
    if launcher is not None and launcher.owner is not None:
        os.chown(name, launcher.owner.pw_uid, launcher.owner.pw_gid)
    Path(name).rename(path)
