"""Tests that Dagster's private names are imported in two modules only, and only while Dagster does not export them."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from m5_assets import dagster_internals as platform
from m5_assets_tests.support import dagster_internals as support

ROOT = Path(__file__).parents[1]
ROOMS = {Path("m5_assets/dagster_internals.py"), Path("m5_assets_tests/support/dagster_internals.py")}


def private_imports(source: str) -> Iterator[str]:
    """Yield the private names of Dagster that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, *rest = name.split(".")
            if package == "dagster" and any(part.startswith("_") for part in rest):
                yield name


@pytest.mark.parametrize(
    "line",
    [
        "from dagster._core.events import X",
        "import dagster._utils",
        "from dagster import _check",
        "import dagster._a.b",
    ],
)
def test_every_form_of_import_is_recognized(line: str) -> None:
    assert list(private_imports(f"def f():\n    {line}"))
    assert not list(private_imports("import dagster as dg\nfrom dagster.deprecated import X\nfrom . import _y"))


def test_private_names_are_imported_in_two_modules_only() -> None:
    found = {
        file.relative_to(ROOT)
        for folder in ("m5_assets", "m5_assets_tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if list(private_imports(file.read_text()))
    }
    assert found == ROOMS


@pytest.mark.parametrize("name", [*platform.__all__, *support.__all__])
def test_no_name_has_become_public(name: str) -> None:
    """If this fails, Dagster exports the name now: import it from `dagster` and remove it from the module."""
    value = getattr(platform, name, None) or getattr(support, name)
    public = [module.name for module in pkgutil.iter_modules(dg.__path__) if not module.name.startswith("_")]
    exported = [importlib.import_module(f"dagster.{module}") for module in public] + [dg]
    for module in exported:
        assert not hasattr(module, name), module.__name__
        same = [
            key for key, other in vars(module).items() if other is value or (isinstance(value, str) and other == value)
        ]
        assert not same, module.__name__


def test_each_private_name_is_in_only_one_module() -> None:
    assert not set(platform.__all__) & set(support.__all__)
