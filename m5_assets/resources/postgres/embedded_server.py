"""The embedded PostgreSQL: a real server per home folder, started on first use and shared by all its processes.

The server outlives the process that started it. It listens only on 127.0.0.1, for roles that are no superuser, each
with a password that only the folder's owner can read. The superuser cannot log in: its few statements run before the
start, in PostgreSQL's single-user mode. Linux only, because it reads /proc.

    <home>/postgres/   data/  logs/  passwords/  layout  port  lock

`logs/` keeps seven days, one file per weekday (`Mon.log`, ...), and `start.log`, the output of the last start.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from m5_assets.private_folder import private_folder
from m5_assets.resources.postgres.roles import OWNER, READER, WRITER, logins
from m5_assets.resources.postgres.server_binaries import Launcher, PostgresError, find_launcher

_log = logging.getLogger(__name__)

_SUPERUSER = _DATABASE = "m5"
_ROLES = (READER, WRITER, OWNER)
_LAYOUT = "2"
"""What the file `layout` says; a folder without it was created before there were login roles."""
_HBA = f"""# Written by the platform. Everything that is not named here is rejected, also the superuser.
host all {_SUPERUSER} 127.0.0.1/32 reject
host {_DATABASE} {WRITER},{OWNER} 127.0.0.1/32 scram-sha-256
host {_DATABASE} +{READER} 127.0.0.1/32 scram-sha-256
"""
_START_SECONDS = 60
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "''",
    "timezone": "UTC",
    # Every load fills a table in the transaction that creates it; without replicas, that needs no WAL.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "recovery_init_sync_method": "syncfs",  # one syncfs after a crash instead of an fsync per file
    "logging_collector": "on",
    "log_directory": "../logs",
    "log_filename": "%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
_TRANSIENT = ("still in use", "Address already in use")  # a killed server's last processes; a port lost in a race


@dataclass(frozen=True)
class Status:
    """State of a home's server; `pid` and `port` are None unless it is running."""

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
    """The PostgreSQL server of one home folder; safe to use from several processes and threads at once."""

    def __init__(self, home: Path) -> None:
        self.folder = home.resolve() / "postgres"
        self._data = self.folder / "data"
        self._logs = self.folder / "logs"

    def ensure_running(self, role: str = OWNER) -> URL:
        """Start the server unless it is running, and return its URL with a role's password.

        A server without login roles, as earlier versions left it, is stopped and gets them first.

        Args:
            role: who logs in: m5_reader, m5_writer or m5_owner.

        Raises:
            PostgresError: if the server cannot run here or does not start.
        """
        with self._locked() as lock:
            deadline = time.monotonic() + _START_SECONDS
            while time.monotonic() < deadline:
                found = self._postmaster()
                if found is None:
                    self._begin(lock)
                elif not self._has_login_roles():
                    self._stop()
                elif found.ready and _answers(found.port):
                    address = ("127.0.0.1", found.port, _DATABASE)
                    return URL.create("postgresql+psycopg2", role, self._password(role), *address)
                else:  # recovering, or shutting down after a kill
                    time.sleep(0.02)
        raise PostgresError(f"PostgreSQL accepts no connections after {_START_SECONDS} s; see its logs in {self._logs}")

    def stop(self) -> None:
        """Stop the server if it is running; open transactions are rolled back."""
        if not self.folder.exists():
            return
        with self._locked():
            if self._postmaster() is not None:
                self._stop()

    def status(self) -> Status:
        """Return whether the server is running and accepts connections, without starting it."""
        found = self._postmaster()
        if found is None or not found.ready:
            return Status(False, self.folder)
        return Status(True, self.folder, found.pid, found.port)

    def _stop(self) -> None:
        find_launcher().run("pg_ctl", "stop", f"--pgdata={self._data}", "--mode=fast", "--wait")
        _log.info("PostgreSQL stopped (%s)", self.folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        private_folder(self.folder.parent)
        self.folder.mkdir(mode=0o700, exist_ok=True)
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
        elif not self._has_login_roles():
            _log.info("PostgreSQL: giving the database in %s its login roles (once)", self._data)
            self._patiently(lambda: self._create_roles(launcher, self._data, lock))
        self._logs.mkdir(mode=0o700, exist_ok=True)
        if launcher.owner is not None:
            os.chown(self._logs, launcher.owner.pw_uid, launcher.owner.pw_gid)
        (self.folder / "log").unlink(missing_ok=True)  # the single log file of earlier versions
        self._start(launcher)

    def _give_folder(self, launcher: Launcher) -> None:
        if launcher.owner is None:
            return
        os.chown(self.folder, launcher.owner.pw_uid, launcher.owner.pw_gid)
        home = self.folder.parent
        if stat.S_IMODE(home.stat().st_mode) == stat.S_IRWXU and home.stat().st_uid == os.geteuid():
            # Through the group, that account alone may pass; it still cannot list the home.
            os.chown(home, -1, launcher.owner.pw_gid)
            home.chmod(stat.S_IRWXU | stat.S_IXGRP)
        reach = subprocess.run([*launcher.prefix, "test", "-x", str(self.folder)], check=False)
        if reach.returncode != 0:
            raise PostgresError(
                f"PostgreSQL cannot run as root, and the account {launcher.owner.pw_name} that runs it instead has no "
                f"access to {self.folder}: choose an M5_HOME whose parent folders it can enter, or set M5_DATABASE_URL"
            )

    def _initialise(self, launcher: Launcher, lock: int) -> None:
        """Create the data folder under a temporary name, then move it into place."""
        _log.info("PostgreSQL: creating the database in %s (once, about 2 seconds)", self._data)
        for remains in self.folder.glob("initdb-*"):
            shutil.rmtree(remains)
        new = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.folder))
        if launcher.owner is not None:
            os.chown(new, launcher.owner.pw_uid, launcher.owner.pw_gid)
        # The children inherit the lock: if this process is killed, nobody else starts before they have ended.
        launcher.run(
            "initdb",
            *(f"--pgdata={new}", f"--username={_SUPERUSER}", "--auth=reject", "--encoding=UTF8", "--no-locale"),
            "--no-sync",
            keep=[lock],
        )
        _alone(launcher, new, "postgres", [f"CREATE DATABASE {_DATABASE}"], lock)
        self._create_roles(launcher, new, lock)
        os.sync()  # one sync instead of initdb's fsync per file, about a thousand
        new.rename(self._data)

    def _create_roles(self, launcher: Launcher, data: Path, lock: int) -> None:
        """Give a database its login roles, close it to everyone else, and record that; safe to repeat."""
        passwords = {role: self._new_password(role) for role in _ROLES}
        no_superuser = f"ALTER ROLE {_SUPERUSER} PASSWORD NULL"
        _alone(launcher, data, _DATABASE, [no_superuser, *logins(passwords)], lock)
        _write(data / "pg_hba.conf", _HBA, launcher)
        (self.folder / "password").unlink(missing_ok=True)  # the superuser's, of earlier versions
        _write(self.folder / "layout", _LAYOUT)

    def _has_login_roles(self) -> bool:
        layout = self.folder / "layout"
        return layout.exists() and layout.read_text() == _LAYOUT

    def _patiently(self, action: Callable[[], object]) -> None:
        """Repeat an action while a killed server's last processes are in its way."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(FileNotFoundError):
                (self._data / "postmaster.pid").unlink()  # no server is running: a crash or reboot left the file
            try:
                action()
            except PostgresError as error:
                if not any(cause in str(error) for cause in _TRANSIENT) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _start(self, launcher: Launcher) -> None:
        def start() -> None:
            _write(self._logs / "start.log", "", launcher)
            sizes = {path: path.stat().st_size for path in self._logs.iterdir()}
            options = " ".join(f"-c {name}={value}" for name, value in (_SETTINGS | {"port": self._port()}).items())
            try:
                launcher.run(
                    "pg_ctl",
                    *("start", f"--pgdata={self._data}", f"--log={self._logs / 'start.log'}", f"--options={options}"),
                    *("--wait", f"--timeout={_START_SECONDS}"),
                )
            except PostgresError as error:
                lines = "".join(_text_after(path, sizes.get(path, 0)) for path in sorted(self._logs.iterdir())).strip()
                raise PostgresError(
                    f"PostgreSQL did not start; its logs in {self._logs} end with: {lines[-2000:]}"
                ) from error

        self._patiently(start)
        _log.info("PostgreSQL started (%s)", self.folder)

    def _postmaster(self) -> _Postmaster | None:
        """Return the running server, or None; a stale pid file does not count."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            process = Path("/proc", lines[0].strip())
            command = (process / "cmdline").read_bytes().split(b"\0")
            # The server of a home that was moved still has the old path in its command, but works in its data folder.
            is_ours = os.fsencode(self._data) in command or _is_same(process / "cwd", self._data)
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return None
        if Path(os.fsdecode(command[0])).name != "postgres" or not is_ours:
            return None  # the pid belongs to another process now, or to a zombie
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return _Postmaster(int(lines[0]), int(lines[3]) if ready else 0, ready)

    def _port(self) -> str:
        """Return the port of the last start if it is free, else a new free one, which is saved for the next start."""
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

    def _new_password(self, role: str) -> str:
        """Return a role's password, which is generated unless an interrupted call has left one."""
        path = self.folder / "passwords" / role
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            _write(path, secrets.token_urlsafe(24))
        return path.read_text()

    def _password(self, role: str) -> str:
        path = self.folder / "passwords" / role
        if not path.exists():
            raise PostgresError(
                f"the embedded PostgreSQL's password file {path} is missing: restore it, or delete "
                f"{self.folder / 'layout'} for new passwords"
            )
        return path.read_text()


def _alone(launcher: Launcher, data: Path, database: str, statements: Iterable[str], lock: int) -> None:
    """Run statements as the superuser in single-user mode, one line each; the first error ends it."""
    arguments = ("--single", "-c", "exit_on_error=on", "-D", str(data), database)
    launcher.run("postgres", *arguments, text="".join(f"{statement};\n" for statement in statements), keep=[lock])


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def _answers(port: int) -> bool:
    """Return whether a PostgreSQL server responds on this port: it answers an SSLRequest with one letter."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
        probe.sendall(struct.pack(">ii", 8, 80877103))  # "SSLRequest" under "Message Formats" in PostgreSQL's manual
        return probe.recv(1) in (b"N", b"S")
    return False


def _text_after(path: Path, size: int) -> str:
    with path.open(errors="replace") as file:
        file.seek(size)
        return file.read()


def _write(path: Path, text: str, launcher: Launcher | None = None) -> None:
    """Write a file atomically, readable only by its owner."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(text)
    if launcher is not None and launcher.owner is not None:
        os.chown(name, launcher.owner.pw_uid, launcher.owner.pw_gid)
    Path(name).rename(path)
