"""docs/sagemaker.md: its example runs, and the tests that it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "sagemaker.md").read_text()


def test_the_example_runs(tmp_path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    (tmp_path / "example.py").write_text(example[1])
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (out,) = (tmp_path / "sagemaker-example/lake/out").glob("*/sum.txt")
    assert out.read_text() == "6"


def test_the_tests_that_back_the_tables_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    sources = "".join(path.read_text() for path in ROOT.rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    assert len(named) > 25
    assert named <= defined, named - defined
