"""What a checkout deploys: a commit, and the stacks of `infrastructure/stacks.json` with an environment's values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from m5_assets.errors import UserError
from m5_assets.extras.deployment.programs import ProgramFailed, run


class Environment(BaseModel):
    """One account and region: `infrastructure/environments/<name>.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    account: str = Field(pattern=r"^\d{12}$")
    region: str
    parameters: dict[str, StrictStr]

    @classmethod
    def load(cls, name: str, checkout: Path) -> Environment:
        """Read an environment's file.

        Raises:
            UserError: there is no such file, or it is not of the expected form.
        """
        folder = checkout / "infrastructure" / "environments"
        path = folder / f"{name}.json"
        if not path.exists():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or f"none; {folder} has no .json file"
            raise UserError(f"there is no environment {name!r}; there are: {known}")
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8")).model_copy(update={"name": name})
        except ValidationError as problem:
            raise UserError(f"{path} needs account (twelve digits), region and parameters (text): {problem}") from None


@dataclass(frozen=True)
class Stack:
    """A stack as it should be; CloudFormation takes those of the parameters that its template declares."""

    environment: str
    part: str
    template: Path
    parameters: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its full name."""
        return f"m5-{self.environment}-{self.part}"


def read_stacks(checkout: Path, environment: Environment, tags: Mapping[str, str]) -> list[Stack]:
    """Return the stacks in the order of deployment; `tags` holds the tag of each image by its name."""
    folder = checkout / "infrastructure"
    given = {**environment.parameters, **{f"{name.capitalize()}Tag": tag for name, tag in tags.items()}}
    return [
        Stack(
            environment.name,
            entry["part"],
            folder / "stacks" / f"{entry['template']}.yaml",
            {**given, **entry.get("parameters", {}), "Environment": environment.name},
        )
        for entry in json.loads((folder / "stacks.json").read_text(encoding="utf-8"))
    ]


def clean_commit(checkout: Path) -> str:
    """Return the commit that a checkout holds.

    Raises:
        UserError: it holds something that is not committed, so that no `--undo` could come back to it.
    """
    if changed := run(["git", "-C", str(checkout), "status", "--porcelain"]):
        raise UserError(f"commit this first: a deployment is a commit, so that --undo can go back to it\n{changed}")
    return run(["git", "-C", str(checkout), "rev-parse", "HEAD"]).strip()


@contextmanager
def checked_out(checkout: Path, commit: str) -> Iterator[Path]:
    """Give a temporary checkout of another commit of the same repository.

    Raises:
        UserError: the repository does not have it.
    """
    git = ("git", "-C", str(checkout), "worktree")
    with TemporaryDirectory() as folder:
        try:
            run([*git, "add", "--detach", f"{folder}/{commit}", commit])
        except ProgramFailed as problem:
            raise UserError(f"this checkout lacks the commit of that deployment; `git fetch` it: {problem}") from None
        try:
            yield Path(folder, commit)
        finally:
            run([*git, "remove", "--force", f"{folder}/{commit}"])
