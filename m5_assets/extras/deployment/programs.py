"""Programs that users install: the AWS CLI, git, docker or podman."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from m5_assets.errors import UserError

_GUIDE = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"


class ProgramFailed(UserError):
    """A program exited with another code than 0; the message ends with the last lines that it printed."""


def run(command: Sequence[str], *, given: str | None = None, show: bool = False) -> str:
    """Run a program with `given` as its input; return what it prints, or `show` it on the terminal.

    Raises:
        ProgramFailed: it exits with another code than 0.
    """
    out, quiet = None if show else subprocess.PIPE, {**os.environ, "AWS_PAGER": ""}
    done = subprocess.run(command, input=given, stdout=out, stderr=subprocess.PIPE, text=True, check=False, env=quiet)
    if done.returncode:
        words = [Path(command[0]).name, *(word for word in command[1:3] if word[0] not in "-/")]
        last = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise ProgramFailed(f"{' '.join(words)} failed with {done.returncode}:\n{last}")
    return done.stdout or ""


class AwsCli:
    """The AWS CLI in one region: call it with a command's words, and it returns what the command prints.

    Raises:
        UserError: it is not installed.
    """

    def __init__(self, region: str) -> None:
        program = shutil.which("aws") or shutil.which("aws", path=Path(sys.executable).parent)
        if program is None:
            raise UserError(f"m5 deploy needs the AWS CLI: install version 2 ({_GUIDE}), or pip install '.[aws]'")
        self._program, self._options = program, ("--region", region, "--output", "json")

    def __call__(self, *words: str) -> str:
        """Run a command, such as `("sts", "get-caller-identity")`, and return what it prints.

        Raises:
            ProgramFailed: AWS refuses it, or cannot be reached.
        """
        return run([self._program, *words, *self._options])
