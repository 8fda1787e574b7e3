"""Lend this machine's pip settings to a build.

    pip config list | python -m m5_assets_tests.support.docker.pip_settings CONF

Writes CONF, to be mounted as /etc/pip.conf, and prints one `--volume` option for it and for the files and folders
that it names. These are mounted read-only at their own paths.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

LENT = {
    "cert", "client-cert", "constraint", "default-timeout", "extra-index-url", "find-links", "index-url", "no-index",
    "proxy", "retries", "timeout", "trusted-host",
}  # fmt: skip
"""The options that say where packages come from and which are allowed. Others, such as `cache-dir`, stay here."""

_CERTIFICATES = Path("/etc/ssl/certs")  # lent in any case

_INCLUDED = re.compile(r"^\s*(?:-c|-r|--constraint|--requirement)[\s=]+(\S+)", re.MULTILINE)


def read(listed: str) -> dict[str, list[str]]:
    """Return the lent options of `pip config list` and the words of their values; local paths are absolute.

    The environment overrides `[install]`, which overrides `[global]`, as in `pip install`.
    """
    options: dict[str, list[str]] = {}
    for scope in ("global", "install", ":env:"):
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{scope}.") and name.removeprefix(f"{scope}.") in LENT:
                words = str(ast.literal_eval(value)).split()
                options[name.removeprefix(f"{scope}.")] = [_absolute(word) for word in words]
    return options


def configuration(options: Mapping[str, Iterable[str]]) -> str:
    """Return the options as the content of a pip.conf."""
    return "\n".join(["[global]", *(f"{name} = {' '.join(words)}" for name, words in sorted(options.items())), ""])


def paths(options: Mapping[str, Iterable[str]]) -> list[Path]:
    """Return the files and folders of this machine that the options name, and the files that constraints include."""
    found = set()
    for name, words in options.items():
        for path in map(_local, words):
            if path is not None:
                # The links of an index in a folder may lead to its neighbours.
                found.add(path.parent if path.name == "simple" else path)
                found |= set(_included(path)) if name == "constraint" else set()
    return sorted(path for path in found if not path.is_relative_to(_CERTIFICATES))


def _included(path: Path) -> Iterator[Path]:
    for name in _INCLUDED.findall(path.read_text()):
        inner = _local(str(path.parent / name))
        if inner is not None:
            yield inner
            yield from _included(inner)


def _local(word: str) -> Path | None:
    path = Path(word.removeprefix("file://"))
    return path if path.is_absolute() and path.exists() else None


def _absolute(word: str) -> str:
    return str(Path(word).resolve()) if Path(word).exists() else word


def main() -> None:
    """Write the configuration and print the mounts."""
    target = Path(sys.argv[1])
    options = read(sys.stdin.read())
    target.write_text(configuration(options))
    mounts = [f"{target}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in paths(options))]
    sys.stdout.write("".join(f"--volume\n{mount}\n" for mount in mounts))


if __name__ == "__main__":
    main()
