"""Tests that compiled functions are recompiled when their source, or that of a function they call, changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import m5_assets

PROGRAM = """
import numpy as np
from m5_assets.forecasting.features.rolling import _moments
sales, zero = np.full((1, 30), 2, np.float32), np.zeros(1, np.int32)
out = np.empty((1, 30), np.float32)
_moments(sales, zero, zero, zero + 29, zero + 28, out)
print(out[0, 0])
"""


def test_a_change_in_a_called_function_is_recompiled(tmp_path: Path) -> None:
    package = tmp_path / "m5_assets"
    shutil.copytree(Path(m5_assets.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    called = package / "forecasting" / "features" / "cumulative.py"

    def mean() -> float:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        return float(done.stdout)

    assert mean() == 2
    source = called.read_text()
    changed = source.replace("mean: float = total * _ONE_OVER[n]", "mean: float = 10 * total * _ONE_OVER[n]")
    assert changed != source
    called.write_text(changed)
    assert mean() == 20
