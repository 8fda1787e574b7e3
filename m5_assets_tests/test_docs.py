"""Tests that the tests named in docs/sagemaker.md exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tests_that_back_the_tables_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "sagemaker.md").read_text()))
    suites = (ROOT / "m5_assets_tests", ROOT / "libraries/dagster-sagemaker/dagster_sagemaker_tests")
    sources = "".join(path.read_text() for suite in suites for path in suite.rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    assert len(named) > 25
    assert named <= defined, named - defined
