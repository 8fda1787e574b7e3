"""Every bad input of the landing tests, through the assets that write: refused with one reason, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from m5_assets.resources.lake import Lake
from m5_assets.resources.landing_files.landing_resource import LandingFolder
from m5_assets_tests.resources import test_landing_forms, test_landing_ids, test_landing_verification
from m5_assets_tests.resources.test_landing_corruptions import CORRUPTIONS, Corruption
from m5_assets_tests.resources.test_landing_verification import totals_of, write_all
from m5_assets_tests.support.landing_folders import PRICES, SALES, land

PAGE = Path(__file__).parents[2] / "docs/data.md"


class BadInput(NamedTuple):
    kind: str
    name: str
    spoil: Callable[[Path], None]
    """Changes a folder of valid files."""


def corrupt(case: Corruption, folder: Path) -> None:
    path = folder / case.file
    changed = case.change(path.read_text())
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())


def rename_item(file: str, name: str, folder: Path) -> None:
    (folder / file).write_bytes((folder / file).read_text().replace("FOODS_1_001", name).encode())


def contradict(change: Callable[[Path], None], folder: Path) -> None:
    totals_of(folder)
    change(folder)


BATTERY = [
    *(BadInput(f"`{case.file}`", case.name, partial(corrupt, case)) for case in CORRUPTIONS),
    *(
        BadInput("an id that cannot work", f"{name!a} in {file}", partial(rename_item, file, name))
        for name, _ in test_landing_ids.REFUSED
        for file in (SALES, PRICES)
    ),
    *(
        BadInput("a form with more than one meaning, or damaged", name, form)
        for name, (form, _, _) in test_landing_forms.REFUSED.items()
    ),
    *(
        BadInput("files that contradict each other", name, partial(contradict, change))
        for name, (change, _) in test_landing_verification.CONTRADICTIONS.items()
    ),
]


@pytest.mark.parametrize("bad", BATTERY, ids=lambda bad: f"{bad.kind}: {bad.name}"[:60])
def test_a_bad_input_is_refused_before_anything_is_written(tmp_path: Path, bad: BadInput) -> None:
    folder = land(tmp_path / "landed")
    bad.spoil(folder)
    reasons = write_all(LandingFolder(root=str(folder)), Lake(root=str(tmp_path / "lake")))
    assert len(reasons) == 4  # by every asset
    assert len(set(reasons)) == 1
    assert str(folder) in reasons[0]
    assert "retried" not in reasons[0]
    assert not [path for path in (tmp_path / "lake").rglob("*") if path.is_file()]


def test_the_table_in_the_docs_counts_the_battery() -> None:
    kinds = [bad.kind for bad in BATTERY]
    rows = [f"| {kind} | {kinds.count(kind)} | {kinds.count(kind)} | 0 |" for kind in dict.fromkeys(kinds)]
    table = ["| bad input | tried | refused before the first write | files written |", "| --- | ---: | ---: | ---: |"]
    table += [*rows, f"| together | {len(kinds)} | {len(kinds)} | 0 |"]
    assert "\n".join(table) in PAGE.read_text(), "\n".join(table)
