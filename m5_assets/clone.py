"""The clone from which the package is imported."""

from __future__ import annotations

from pathlib import Path

CLONE = Path(__file__).parents[1]
"""Its folder. For an installed wheel a folder of packages, without the project's other files."""

IS_CLONE = (CLONE / "workspace.yaml").is_file()
