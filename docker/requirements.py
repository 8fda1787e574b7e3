"""Print the requirements in pyproject.toml, one per line, as pip verifies hashes of requirements but not of a project.

python docker/requirements.py [EXTRA...] [--without NAME...]
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def requirements(project: Mapping[str, Any], extras: Sequence[str] = ()) -> Iterator[str]:
    """Yield a project's requirements and those of its extras; an extra may name others of the project."""
    yield from project["dependencies"]
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            if own := re.fullmatch(rf"{re.escape(project['name'])}\[(.+)\]", requirement):
                yield from requirements({**project, "dependencies": ()}, own[1].split(","))
            else:
                yield requirement


def main() -> None:
    """Print the requirements that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*")
    parser.add_argument("--without", action="append", default=[], metavar="NAME")
    asked = parser.parse_args()
    content = tomllib.loads(Path("pyproject.toml").read_text())
    found = [*content["dependency-groups"]["install"], *requirements(content["project"], asked.extras)]
    kept = [line for line in found if re.split(r"[^\w.-]", line)[0] not in asked.without]
    sys.stdout.write("".join(f"{line}\n" for line in kept))


if __name__ == "__main__":
    main()
